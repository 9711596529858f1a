"""The lean forward pass."""
