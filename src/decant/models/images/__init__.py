"""Networks of images made of codes, and their folders."""
