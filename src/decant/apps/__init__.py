"""What users touch: the catalogue, the Python verbs, the command line."""
