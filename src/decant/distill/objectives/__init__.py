"""What is asked of the student: a distance between laws, between states, or a text's own tokens."""
