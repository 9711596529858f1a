"""Settle every place whose guess is likely enough, and the surest of each run of open places: long runs are halved.

Source: Ma et al. 2025, arXiv:2510.08666 (dInfer, hierarchical decoding).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Hierarchical:
    """tau: a guess settles whose probability, before any warp, is larger. low: likewise, of the surest of a run."""

    tau: float = 0.9
    low: float = 0.4
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.tau:
            raise BadInput(f"low lies between 0 and tau, {self.tau:g}, got {self.low:g}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """A run is unbroken: places that are settled, or may not settle, end it."""
        sure_BL = turn.eligible_BL & (seen.confidence_BL > self.tau)
        top_BL = tops(seen.confidence_BL, turn.eligible_BL) & (seen.confidence_BL > self.low)
        return Reveal(seen.guess_BL, sure_BL | top_BL), None


def tops(score_BL: Tensor, among_BL: Tensor) -> Tensor:
    """top_BL: in each run of places `among_BL` the one with the highest score; of equal ones the left one."""
    before_BL = torch.nn.functional.pad(among_BL, (1, 0))[:, :-1]
    run_BL = (among_BL & ~before_BL).cumsum(-1)
    score_BL = score_BL.masked_fill(~among_BL, -torch.inf)
    width = score_BL.shape[1]
    runs_BR = score_BL.new_full((len(score_BL), width + 1), -torch.inf)
    equal_BL = among_BL & (score_BL == runs_BR.scatter_reduce(1, run_BL, score_BL, "amax").gather(1, run_BL))
    place_BL = torch.arange(width, device=score_BL.device).where(equal_BL, width)
    firsts_BR = torch.full_like(runs_BR, width, dtype=torch.int64).scatter_reduce(1, run_BL, place_BL, "amin")
    return equal_BL & (place_BL == firsts_BR.gather(1, run_BL))
