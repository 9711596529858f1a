"""The command `decant`: parse, look up, compose, print. One file a verb; what is heavy is imported inside it."""

from decant.apps.cli.app import app, main

__all__ = ["app", "main"]
