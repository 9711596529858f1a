"""Block after block from the left: the next begins when the last is full.

Source: Nie et al. 2025, arXiv:2502.09992 (semi-autoregressive remasking).
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Scope, Turn
from decant.errors import BadInput
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True)
class Blocks:
    """block: places of one, the last may be shorter. mask: the id of an open place."""

    mask: int
    block: int = 32

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"a block has at least one place, not {self.block}")

    def start(self, canvas_BL: Tensor) -> None:
        """Nothing is remembered: what is open tells."""

    def scope(self, state: None, canvas_BL: Tensor) -> Scope:
        """The block of the first open place."""
        open_BL = canvas_BL == self.mask
        number_L = torch.arange(canvas_BL.shape[1], device=canvas_BL.device) // self.block
        first_B = number_L.where(open_BL, len(number_L)).amin(-1)
        block_BL = (number_L == first_B[:, None]) & (canvas_BL != PAD)
        return Scope(block_BL, block_BL & open_BL)

    def turn(self, state: None, scope: Scope, seen: Outlook) -> tuple[Turn, None]:
        """What is open of it."""
        return Turn(scope.block_BL & (seen.canvas_BL == self.mask)), None
