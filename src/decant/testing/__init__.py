"""Models that we know everything about, and the laws that every part obeys. Public: run them on parts of your own."""
