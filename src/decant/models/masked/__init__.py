"""Models that fill in masks: loading, training and decoding them."""
