"""Settle the n surest places together where the last of them is surer than 1 - factor / (n + 1).

At a factor of 1 or less the likeliest ids of such places, taken apart, are the likeliest together, so that greedy
decoding loses nothing by the step.
Source: Wu et al. 2025, arXiv:2505.22618 (Fast-dLLM).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """factor: how much doubt the places of one step may have; at 0 only what is certain settles beside others."""

    factor: float = 1.0
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.factor >= 0:
            raise BadInput(f"factor is 0 or more, got {self.factor:g}; above 1 nothing is promised")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """As many as pass; the decoder sees to one at least."""
        order_BL = seen.confidence_BL.masked_fill(~turn.eligible_BL, -torch.inf).sort(dim=-1, descending=True).values
        number_L = torch.arange(1, order_BL.shape[1] + 1, device=order_BL.device)
        # Confidence falls and the bar rises, so that those that pass are a beginning.
        count_B = (order_BL >= 1 - self.factor / (number_L + 1)).sum(-1)
        return Reveal(seen.guess_BL, surest(seen.confidence_BL, turn.eligible_BL, count_B)), None
