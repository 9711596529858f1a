"""Settle 1, 2, 4 ... places: few while little is known, so that N places need log2 N steps.

A step settles as many places as are settled already, and one more; the last one takes what is left. With blocks, the
last ones take a step each and the first block all the small steps.
Source: Yang et al. 2025, arXiv:2509.23924 (ASS, ascending step size).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Scope, Turn
from decant.errors import BadInput
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ascent:
    """count_B: places that were open in the beginning. before_BL: how many of them lie in front of each place."""

    count_B: Tensor
    before_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class Ascending:
    """blocks: how many; 1: every open place may settle at any time. At most one a step. mask: the id of an open
    place."""

    mask: int
    blocks: int = 1

    def __post_init__(self) -> None:
        if self.blocks < 1:
            raise BadInput(f"there is at least one block, not {self.blocks}")

    def start(self, canvas_BL: Tensor) -> Ascent:
        """Given places are not counted; those behind the last open one belong to its block."""
        open_BL = canvas_BL == self.mask
        count_B = open_BL.sum(-1)
        before_BL = open_BL.cumsum(-1) - open_BL.long()
        return Ascent(count_B, before_BL.minimum((count_B[:, None] - 1).clamp_min(0)))

    def scope(self, state: Ascent, canvas_BL: Tensor) -> Scope:
        """The block of the next step."""
        open_BL = canvas_BL == self.mask
        begin_B, end_B, _ = self._step(state, open_BL)
        first_B = state.before_BL.where(open_BL, canvas_BL.shape[1]).amin(-1)
        begin_B = begin_B.minimum(first_B)  # a place that opened again
        inside_BL = (state.before_BL >= begin_B[:, None]) & (state.before_BL < end_B[:, None])
        block_BL = inside_BL & (canvas_BL != PAD) & open_BL.any(-1, keepdim=True)
        return Scope(block_BL, block_BL & open_BL)

    def turn(self, state: Ascent, scope: Scope, seen: Outlook) -> tuple[Turn, Ascent]:
        """What is open of the block, and how many of it."""
        open_BL = seen.canvas_BL == self.mask
        return Turn(scope.block_BL & open_BL, self._step(state, open_BL)[2]), state

    def _step(self, state: Ascent, open_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """begin_B, end_B: of the block, in open places of the beginning. quota_B: of the step."""
        left_B = open_BL.sum(-1)
        settled_B = state.count_B - left_B
        number_B, steps_B = _log2(settled_B + 1), _log2(state.count_B).clamp_min(1)
        quota_B = (settled_B + 1).where(number_B < steps_B - 1, left_B)
        opening_B = (steps_B - self.blocks).clamp_min(0)  # the step that fills the first block
        one_B = torch.ones_like(number_B)
        end_B = (one_B << (number_B.maximum(opening_B) + 1)) - 1
        begin_B = ((one_B << number_B.minimum(steps_B - 1)) - 1).where(number_B > opening_B, 0)
        return begin_B, end_B.where(number_B.maximum(opening_B) < steps_B - 1, state.count_B), quota_B


def _log2(number_B: Tensor) -> Tensor:
    """Rounded down, exactly; -1 for 0."""
    return torch.frexp(number_B.double()).exponent.long() - 1
