"""Settle every place of which a small trained network says that its guess will last.

The network reads how sure the model is at all places of a block. A settled place counts as sure: nobody asks about it.
Source: Bao et al. 2025, arXiv:2509.25188 (Learn2PD).
"""

from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise
from decant.types import PAD


class Filter(Protocol):
    """Scores the guesses of a block."""

    @property
    def block(self) -> int:
        """Places that are read together, counted from the first of a canvas."""
        ...

    def __call__(self, sure_XW: Tensor, /) -> Tensor:
        """score_XW, logits of lasting."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Learn2PD:
    """filter: the trained network. mask: the id of an open place. tau: the least probability that a guess lasts; above
    1 the surest places alone settle, one a step."""

    filter: Filter
    mask: int
    tau: float = 0.96
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise BadInput(f"tau is a probability above 0, got {self.tau:g}; above 1 settles one place a step")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """What lasts, and the surest place in any case."""
        sure_BGW = windows(seen.canvas_BL, seen.confidence_BL, self.mask, self.filter.block)
        lasts_BL = self.filter(sure_BGW).sigmoid().flatten(1)[:, : seen.canvas_BL.shape[1]] > self.tau
        first_BL = surest(seen.confidence_BL, turn.eligible_BL, 1 if turn.quota_B is None else turn.quota_B)
        return Reveal(seen.guess_BL, turn.eligible_BL & lasts_BL | first_BL), None


def windows(canvas_BL: Tensor, confidence_BL: Tensor, mask: int, block: int) -> Tensor:
    """sure_BGW, float32: what a filter reads of each block of W places: how sure the guess is where a place is open, 1
    where it is not, 0 behind the end and where nobody asked (confidence_BL is 0 there)."""
    sure_BL = torch.where(canvas_BL == mask, confidence_BL.float(), (canvas_BL != PAD).float())
    sure_BL = pad(sure_BL, (0, -sure_BL.shape[1] % block))
    return sure_BL.view(len(sure_BL), -1, block)
