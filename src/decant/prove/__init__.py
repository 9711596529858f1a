"""Is anything lost? A certificate that can be run again: `prove.run`."""

from decant.prove.certificate import run

__all__ = ["run"]
