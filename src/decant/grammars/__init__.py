"""Languages of texts, and whether what is left open in a text can still be filled in."""
