"""Guidance, temperature and truncation as one law.

Source: Ho and Salimans 2022, arXiv:2207.12598 (guidance); ramped over scales: Tian et al. 2024, arXiv:2404.02905.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.protocols import Warp


@final
@dataclass(frozen=True, slots=True)
class Guided:
    """log p = u + weight (c - u), then the warp.

    weight: 1 is no guidance. warp: temperature, top-k, top-p. units: where guidance grows with the scale, how many
    there are: the weight is then 1 at the first and `weight` at the last; None: it is the same everywhere.
    """

    warp: Warp
    weight: float = 1.0
    units: int | None = None

    def __call__(self, logits_XV: Tensor, other_XV: Tensor, unit: int) -> Tensor:
        """logp_XV of a unit, counted from 0. logits_XV: behind the class; other_XV: without one."""
        weight = self.weight
        if self.units is not None:
            weight = 1 + (weight - 1) * unit / max(1, self.units - 1)
        if weight != 1:  # u + (c - u) is not c to the last bit
            logits_XV = other_XV + weight * (logits_XV - other_XV)
        return self.warp(logits_XV).log_softmax(-1)
