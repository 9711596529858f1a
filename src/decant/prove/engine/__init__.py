"""Somebody else's engine, held against the same engine without speculation: all that is seen are its texts."""

from decant.prove.engine.certificate import Terms, run

__all__ = ["Terms", "run"]
