"""Settle places in an order that is drawn once a request and heeds nothing that the model thinks.

One place a step draws from the model's own law, whatever the order. A part that reads the same numbers knows the order
beforehand.
Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA, random remasking).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise

STREAM: Final = "order"
"""Of the numbers by which places are ranked; the largest settles first."""


@final
@dataclass(frozen=True, slots=True)
class Random:
    """per_step: places that settle in a step, where the schedule does not say."""

    per_step: int = 1
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_step < 1:
            raise BadInput(f"per_step is 1 or more, got {self.per_step}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered: a place's number is a hash."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Ranked by a number that belongs to the place."""
        place_BL = torch.arange(seen.canvas_BL.shape[1], device=seen.canvas_BL.device).expand_as(seen.canvas_BL)
        return ranked(seen, turn, seen.noise.uniform(place_BL, STREAM), self.per_step), None
