"""Settle every place of little entropy, and always that of the least.

Made for students that were taught to be certain.
Source: Chen et al. 2025, arXiv:2509.26488 (dParallel).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class EntropyThreshold:
    """bar: the most entropy of a place, before any warp, in nats; below 0 one place settles a step."""

    bar: float = 0.5
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if math.isnan(self.bar):
            raise BadInput("bar is a number of nats, got nan; below 0 settles one place a step")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """What lies at the bar or below it; trust multiplies exp(-entropy), which is a probability."""
        doubt_N = seen.entropy_N if seen.trust_N is None else seen.entropy_N - seen.trust_N.log()
        doubt_BL = seen.table(doubt_N, float("inf"))
        least_BL = surest(-doubt_BL, turn.eligible_BL, 1)
        return Reveal(seen.guess_BL, least_BL | (turn.eligible_BL & (doubt_BL <= self.bar))), None
