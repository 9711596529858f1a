"""Distillation and training: the trainer, and what later stands around it."""
