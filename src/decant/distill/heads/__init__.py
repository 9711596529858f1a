"""How heads are taught: one method a file, all of them on the one trainer."""
