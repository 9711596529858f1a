"""Blocks that end where the model is about to write a newline.

When a block begins, the surest newline within a window decides where it ends; without one it has a fixed length. The
pass that tells is the block's first. The newline itself is not settled by this.
Source: Lu et al. 2025, arXiv:2509.26432 (AdaBlock-dLLM).
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Scope, Turn
from decant.errors import BadInput
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """begin_B, end_B: of the block that was planned last. window_B: places that are searched for its end."""

    begin_B: Tensor
    end_B: Tensor
    window_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class AdaBlock:
    """delimiters: ids that write a newline. tau_d: the least probability of one; above 1 all blocks are equally long.
    window_share: of the canvas, that is searched. block: places where no delimiter is sure enough. mask: the id of an
    open place."""

    mask: int
    delimiters: Set[int]
    tau_d: float = 0.3
    window_share: float = 0.25
    block: int = 32

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"a block has at least one place, not {self.block}")
        if not 0 <= self.window_share <= 1:
            raise BadInput(f"window_share is a share of the canvas between 0 and 1, got {self.window_share:g}")
        if self.tau_d < 0:
            raise BadInput(
                f"tau_d is a probability of 0 or more, got {self.tau_d:g}; above 1 no delimiter is sure enough"
            )

    def start(self, canvas_BL: Tensor) -> Plan:
        """Nothing is planned."""
        none_B = canvas_BL.new_zeros(len(canvas_BL))
        window_B = ((canvas_BL != PAD).sum(-1).double() * self.window_share).floor().long()
        return Plan(none_B, none_B, window_B)

    def scope(self, state: Plan, canvas_BL: Tensor) -> Scope:
        """The block; where one begins, as many places as it may get."""
        open_BL = canvas_BL == self.mask
        place_L, begin_B, planning_B = self._block(state, open_BL)
        end_B = state.end_B.where(~planning_B, begin_B + state.window_B.clamp_min(self.block))
        block_BL = _between(place_L, begin_B, end_B) & (canvas_BL != PAD) & open_BL.any(-1, keepdim=True)
        return Scope(block_BL, block_BL & open_BL)

    def turn(self, state: Plan, scope: Scope, seen: Outlook) -> tuple[Turn, Plan]:
        """What is open of the block, which ends at the surest delimiter of the window."""
        open_BL = seen.canvas_BL == self.mask
        place_L, begin_B, planning_B = self._block(state, open_BL)
        sure_N, best_N = seen.probs_NV.max(-1)
        ends_N = torch.isin(best_N, torch.tensor(sorted(self.delimiters), dtype=torch.int64, device=best_N.device))
        window_BL = _between(place_L, begin_B, begin_B + state.window_B)
        found_BL = seen.table(sure_N.where(ends_N, -1.0), -1.0).masked_fill(~window_BL, -1.0)
        sure_B, last_B = found_BL.max(-1)
        length_B = (last_B + 1 - begin_B).where((sure_B >= self.tau_d) & (sure_B >= 0), self.block)
        end_B = state.end_B.where(~planning_B, begin_B + length_B)
        eligible_BL = open_BL & _between(place_L, begin_B, end_B)
        return Turn(eligible_BL), Plan(begin_B, end_B, state.window_B)

    def _block(self, state: Plan, open_BL: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """place_L, begin_B, and whether a block begins. A place that opens again in front of a block belongs to it."""
        place_L = torch.arange(open_BL.shape[1], device=open_BL.device)
        first_B = place_L.where(open_BL, len(place_L)).amin(-1)
        planning_B = first_B >= state.end_B
        return place_L, first_B.where(planning_B, torch.minimum(first_B, state.begin_B)), planning_B


def _between(place_L: Tensor, begin_B: Tensor, end_B: Tensor) -> Tensor:
    """Places [begin, end) of each request, as a table."""
    return (place_L >= begin_B[:, None]) & (place_L < end_B[:, None])
