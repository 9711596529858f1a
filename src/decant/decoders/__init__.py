"""The loops: how parts become tokens. Decoders see protocols, never methods."""
