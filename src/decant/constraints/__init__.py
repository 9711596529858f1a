"""What may come next, on every node of a tree, one constraint a file."""
