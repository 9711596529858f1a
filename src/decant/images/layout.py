"""In which order the places of an image come, and which of them a network may see.

A *unit* is what one step of the teacher settles: one place in raster order, one whole scale in next-scale order.
Source: raster: Sun et al. 2024, arXiv:2406.06525 (LlamaGen); scales: Tian et al. 2024, arXiv:2404.02905 (VAR).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, final

import torch
from torch import Tensor

from decant.errors import BadInput

Sees = Literal["earlier", "block", "strict"]
"""What a place sees beside the class: "earlier": earlier units alone; "block": its own unit too; "strict": earlier
units and itself, not its neighbours of the same unit. In raster order the last two are one."""


@final
@dataclass(frozen=True)
class Layout:
    """sides: of the square that each unit is, in their order; all ones for raster order. grid: columns of the finest
    grid.

    Raises BadInput for no unit, sides below one, and a grid that the units do not fill.
    """

    sides: tuple[int, ...]
    grid: int

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 1:
            raise BadInput(f"an image has at least one unit, each with a side of 1 or more, got {self.sides}")
        if self.sides[-1] != self.grid if max(self.sides) > 1 else len(self.sides) % self.grid:
            raise BadInput(
                f"units of sides {self.sides} do not fill a grid of {self.grid} columns: the last scale is as wide as "
                f"the grid, or there are whole rows of units of one place"
            )

    @classmethod
    def raster(cls, grid: int) -> "Layout":
        """Place after place, row after row."""
        return cls((1,) * grid**2, grid)

    @classmethod
    def scales(cls, sides: tuple[int, ...]) -> "Layout":
        """Coarse to fine."""
        return cls(sides, sides[-1])

    @property
    def is_raster(self) -> bool:
        """Whether every unit is one place of the finest grid."""
        return max(self.sides) == 1

    @property
    def units(self) -> int:
        """How many forwards the teacher needs."""
        return len(self.sides)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Places of each unit."""
        return tuple(side**2 for side in self.sides)

    @property
    def places(self) -> int:
        """Of all units."""
        return sum(self.sizes)

    def span(self, unit: int) -> slice:
        """The places of a unit, counted from 0."""
        start = sum(self.sizes[:unit])
        return slice(start, start + self.sizes[unit])

    @cached_property
    def unit_of_L(self) -> Tensor:
        """The unit of each place, int64."""
        return torch.arange(self.units).repeat_interleave(torch.tensor(self.sizes))

    def seen(self, sees: Sees) -> Tensor:
        """bool_LL: whether place i (row) may read place j (column)."""
        mine_L1, other_L = self.unit_of_L[:, None], self.unit_of_L
        if sees == "block":
            return other_L <= mine_L1
        earlier_LL = other_L < mine_L1
        return earlier_LL if sees == "earlier" else earlier_LL | torch.eye(self.places, dtype=torch.bool)
