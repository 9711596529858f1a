"""One Python object a request, for states that no tensor holds."""

from dataclasses import dataclass
from typing import Generic, TypeVar, final

from torch import Tensor

T = TypeVar("T")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Each(Generic[T]):
    """An object of every request, in order. Nobody changes one in place."""

    of: tuple[T, ...]

    def select(self, rows_R: Tensor) -> "Each[T]":
        """The requests `rows_R`."""
        return Each(tuple(self.of[row] for row in rows_R.tolist()))

    def join(self, other: "Each[T]") -> "Each[T]":
        """These requests, then the other's."""
        return Each(self.of + other.of)
