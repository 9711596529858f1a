"""Other engines, one a file, behind one seam (`seam.py`)."""
