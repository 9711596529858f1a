"""Who decides which open places of a canvas settle."""
