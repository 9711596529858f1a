"""Settle the places of least entropy.

Source: Ye et al. 2025, arXiv:2508.15487 (Dream).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Entropy:
    """per_step: places that settle in a step, where the schedule does not say."""

    per_step: int = 1
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_step < 1:
            raise BadInput(f"per_step is 1 or more, got {self.per_step}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Ranked by negative entropy; trust multiplies exp(-entropy), which is a probability."""
        doubt_N = seen.entropy_N if seen.trust_N is None else seen.entropy_N - seen.trust_N.log()
        return ranked(seen, turn, -seen.table(doubt_N, float("inf")), self.per_step), None
