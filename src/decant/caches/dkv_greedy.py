"""Know the order of the places beforehand, and compute those that come next, those just settled and a few around.

So a pass costs the same however long the canvas is. The order is that of the unmasker `random`, whose numbers this part
reads; places that settle by confidence cannot be known before they are computed.
Source: Ma et al. 2025, arXiv:2505.15781 (dKV-Cache-Greedy).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from decant.diffusion import Fresh, Scope, surest
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """first_B: where the block of the last pass began. passes_B: of that block, counted from 0. score_BL: of the
    places; the largest is settled first. open_BL: places that were open in the last pass."""

    first_B: Tensor
    passes_B: Tensor
    score_BL: Tensor
    open_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class DkvGreedy:
    """per_step: places that settle in a step, as the unmasker's. neighbours: open places computed around each of them.
    refresh_every: passes of a block from one whole pass to the next. mask: the id of an open place."""

    mask: int
    per_step: int = 1
    neighbours: int = 4
    refresh_every: int = 2
    order: ClassVar[Literal["random"]] = "random"

    def __post_init__(self) -> None:
        for name in ("per_step", "refresh_every"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} is 1 or more, got {getattr(self, name)}")
        if self.neighbours < 0:
            raise BadInput(f"neighbours is 0 or more, got {self.neighbours}")

    @property
    def exact(self) -> bool:
        """Whether every pass is whole."""
        return self.refresh_every == 1

    def start(self, canvas_BL: Tensor, noise: Noise) -> Walk:
        """No block has begun."""
        none_B = canvas_BL.new_full((len(canvas_BL),), -1)
        place_BL = torch.arange(canvas_BL.shape[1], device=canvas_BL.device).expand_as(canvas_BL)
        score_BL = noise.uniform(place_BL, "order")
        return Walk(none_B, none_B, score_BL, torch.zeros_like(canvas_BL, dtype=torch.bool))

    def fresh(self, state: Walk, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, Walk]:
        """What is next, what the last step settled, and open places around the first."""
        first_B, some_B = scope.block_BL.to(torch.int8).argmax(-1), scope.block_BL.any(-1)
        passes_B = (state.passes_B + 1).where(first_B == state.first_B, 0)
        whole_B = some_B & (passes_B % self.refresh_every == 0)
        open_BL = canvas_BL == self.mask
        next_BL = surest(state.score_BL, open_BL & scope.block_BL, self.per_step)
        active_BL = self._around(next_BL, open_BL) | (state.open_BL & ~open_BL)
        whole = Fresh.whole(canvas_BL)
        answer_BL = whole.answer_BL & (whole_B[:, None] | (active_BL & some_B[:, None]))
        walk = Walk(first_B, passes_B, state.score_BL, open_BL)
        return Fresh(whole.prompt_B & whole_B, answer_BL, next_BL), walk

    def _around(self, next_BL: Tensor, open_BL: Tensor) -> Tensor:
        """The next places, each with its nearest open ones that no other has; of two as near the left one."""
        place_L = torch.arange(next_BL.shape[1], device=next_BL.device)
        chosen_BL, left_BL = next_BL, next_BL
        for _ in range(self.per_step if self.neighbours else 0):
            at_B1, there_B1 = left_BL.to(torch.int8).argmax(-1, keepdim=True), left_BL.any(-1, keepdim=True)
            away_BL = 2 * (place_L - at_B1).abs() - (place_L < at_B1).long()
            chosen_BL = chosen_BL | surest(-away_BL.double(), open_BL & ~chosen_BL & there_B1, self.neighbours)
            left_BL = left_BL & (place_L != at_B1)
        return chosen_BL
