"""What the files that teach students share: lessons of equal minutes, marks, and clocks."""
