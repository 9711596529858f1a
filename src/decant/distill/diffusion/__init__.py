"""Teaching a model to fill in masks."""
