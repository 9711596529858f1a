"""Store a place one step after it was settled, and compute everything anew now and then.

Keys and values change most when a mask becomes a token: those of the pass that settled it still are the mask's. So a
pass computes all open places and those that the step before settled.
Source: Ma et al. 2025, arXiv:2505.15781 (dKV-Cache-Decode).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.diffusion import Fresh, Scope
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True, eq=False)
class Delayed:
    """first_B: where the block of the last pass began. passes_B: of that block, counted from 0. open_BL: places that
    were open in the last."""

    first_B: Tensor
    passes_B: Tensor
    open_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class DkvDecode:
    """refresh_every: passes of a block from one whole pass to the next; the second is whole as well. 1: every one is.
    mask: the id of an open place."""

    mask: int
    refresh_every: int = 8

    def __post_init__(self) -> None:
        if self.refresh_every < 1:
            raise BadInput(f"refresh_every counts passes from 1, got {self.refresh_every}")

    @property
    def exact(self) -> bool:
        """Whether every pass is whole."""
        return self.refresh_every == 1

    def start(self, canvas_BL: Tensor, noise: Noise) -> Delayed:
        """No block has begun."""
        none_B = canvas_BL.new_full((len(canvas_BL),), -1)
        return Delayed(none_B, none_B, torch.zeros_like(canvas_BL, dtype=torch.bool))

    def fresh(self, state: Delayed, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, Delayed]:
        """What is open, and what was until the last step."""
        first_B, some_B = scope.block_BL.to(torch.int8).argmax(-1), scope.block_BL.any(-1)
        passes_B = (state.passes_B + 1).where(first_B == state.first_B, 0)
        whole_B = some_B & ((passes_B <= 1) | (passes_B % self.refresh_every == 0))
        open_BL = canvas_BL == self.mask
        whole = Fresh.whole(canvas_BL)
        active_BL = (open_BL | state.open_BL) & some_B[:, None]
        answer_BL = whole.answer_BL & (whole_B[:, None] | active_BL)
        return Fresh(whole.prompt_B & whole_B, answer_BL), Delayed(first_B, passes_B, open_BL)
