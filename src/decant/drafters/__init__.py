"""Who guesses what the target will say next, one drafter a file."""
