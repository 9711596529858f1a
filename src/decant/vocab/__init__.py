"""What two tokenizers have in common: equal tokens, equal boundaries, texts put from one into the other."""
