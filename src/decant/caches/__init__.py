"""What a pass over a canvas computes anew."""
