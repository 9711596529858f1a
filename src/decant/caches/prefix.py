"""Compute everything when a block begins, then the block and all that lies behind it.

Source: Wu et al. 2025, arXiv:2505.22618 (Fast-dLLM, prefix cache).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Fresh, Scope
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Prefix:
    """The prompt and the blocks before are read from the store."""

    exact: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> Tensor:
        """first_B: where the block began that the last pass was about."""
        return canvas_BL.new_full((len(canvas_BL),), -1)

    def fresh(self, state: Tensor, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, Tensor]:
        """A whole pass where the block is another than before."""
        first_B, some_B = scope.block_BL.to(torch.int8).argmax(-1), scope.block_BL.any(-1)
        begins_B = (first_B != state) & some_B
        behind_BL = torch.arange(canvas_BL.shape[1], device=canvas_BL.device) >= first_B[:, None]
        whole = Fresh.whole(canvas_BL)
        answer_BL = whole.answer_BL & (begins_B[:, None] | behind_BL) & some_B[:, None]
        return Fresh(whole.prompt_B & begins_B, answer_BL), first_B
