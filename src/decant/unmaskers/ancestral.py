"""Walk back through the time of masking, in equal steps: at each of them every open place settles with the chance that
a place unmasks there.

A place's step is drawn once, so the steps at which nothing settles cost no pass.
Source: Sahoo et al. 2024, arXiv:2406.07524 (MDLM).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise

STREAM: Final = "time of settling"


@final
@dataclass(frozen=True, slots=True)
class Ancestral:
    """grid: steps from all masked to none, of each block where a schedule has blocks; an answer, or block, settles in
    so many passes at most."""

    grid: int = 64
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.grid < 1:
            raise BadInput(f"grid is 1 step or more, got {self.grid}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """All eligible places of the earliest step that any of them has. That every place's step is uniform is the
        same as a chance of 1 / (steps left) at each."""
        place_1L = torch.arange(seen.canvas_BL.shape[1], device=seen.canvas_BL.device)[None]
        step_BL = (seen.noise.uniform(place_1L, STREAM) * self.grid).long()
        step_BL = step_BL.masked_fill(~turn.eligible_BL, self.grid)
        next_B1 = step_BL.amin(-1, keepdim=True)
        return Reveal(seen.guess_BL, turn.eligible_BL & (step_BL == next_B1)), None
