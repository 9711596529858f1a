"""Who judges the guesses, one verifier a file."""
