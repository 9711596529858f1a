"""How much to guess next, one policy a file."""
