"""Which tokens count, and how much."""
