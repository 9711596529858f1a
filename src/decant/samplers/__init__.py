"""Warps: what a sampler does to logits, one function a file. Compose them with `chain`."""
