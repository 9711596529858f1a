"""Freeze what is settled, from the left: what is computed shrinks, and nothing frozen is ever computed again.

A block is frozen by the first pass behind its last step, which reads it clean.
Source: Hu et al. 2025, arXiv:2505.21467 (FreeCache).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Fresh, Scope
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class FreeCache:
    """aggressive: freeze up to the first open place after every step, else up to the block. mask: the id of an open
    place."""

    mask: int
    aggressive: bool = False
    exact: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> Tensor:
        """begin_B: the first place that is not frozen; -1: not even the prompt is."""
        return canvas_BL.new_full((len(canvas_BL),), -1)

    def fresh(self, state: Tensor, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, Tensor]:
        """All that is not frozen. What the last pass read open and this one reads clean is frozen behind this one."""
        moving_BL = canvas_BL == self.mask if self.aggressive else scope.block_BL
        some_B = scope.block_BL.any(-1)
        begin_B = moving_BL.to(torch.int8).argmax(-1).where(some_B, state)
        place_L = torch.arange(canvas_BL.shape[1], device=canvas_BL.device)
        # Where a settled place opened again, frozen ones thaw.
        answer_BL = (place_L >= torch.minimum(state, begin_B)[:, None]) & some_B[:, None]
        whole = Fresh.whole(canvas_BL)
        return Fresh(whole.prompt_B & (state < 0) & some_B, whole.answer_BL & answer_BL), begin_B
