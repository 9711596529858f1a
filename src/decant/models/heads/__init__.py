"""Small networks that guess from what a target thinks: taught beside it, shipped as folders of their own."""
