"""How fast each method is, against plain decoding of the same run: `bench.run`."""

from decant.bench.speed import run

__all__ = ["run"]
