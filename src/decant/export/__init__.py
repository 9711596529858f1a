"""Models in other engines' formats: `export.compressed.export`."""

from decant.export.compressed import export

__all__ = ["export"]
