"""How the target moves while the student learns."""
