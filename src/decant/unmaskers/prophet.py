"""Settle the surest places, until the answer is decided: then settle everything that is left at once.

How far an answer is decided is the mean, over its open places, of how far the best logit lies above the second, before
any warp. The bar falls as the canvas fills: `early` up to a third of it, `middle` up to two thirds, then `late`. The
scale of logits is a model's own: bars want calibration. The authors also count settled places of the answer, of which a
pass says nothing here; an answer all of whose places are settled is decided.
Source: Li et al. 2025, arXiv:2508.19982 (Prophet).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """places_B: how many were open at first. some_B: whether any of them was the answer's."""

    places_B: Tensor
    some_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class Prophet:
    """per_step: places that settle in a step before, where the schedule does not say.

    early, middle, late: the least mean gap between the best two logits; inf never settles the rest, -inf at once.
    answer_first, answer_places: where on the canvas the answer stands; None: up to the end.
    mask: the id of an open place.
    """

    mask: int
    per_step: int = 1
    early: float = 7.5
    middle: float = 5.0
    late: float = 2.5
    answer_first: int = 0
    answer_places: int | None = None
    foresight: ClassVar[bool] = True
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_step < 1 or any(math.isnan(bar) for bar in (self.early, self.middle, self.late)):
            raise BadInput(
                f"prophet needs per_step of 1 or more and bars that are numbers, got per_step {self.per_step}, early "
                f"{self.early:g}, middle {self.middle:g}, late {self.late:g}"
            )
        if self.answer_first < 0 or not (self.answer_places is None or self.answer_places > 0):
            raise BadInput(
                f"an answer begins at place 0 or later and has at least one place, got answer_first "
                f"{self.answer_first}, answer_places {self.answer_places}"
            )

    def start(self, canvas_BL: Tensor, noise: Noise) -> Answers:
        """What is open."""
        open_BL = canvas_BL == self.mask
        return Answers(open_BL.sum(-1), (open_BL & self._answer(canvas_BL)).any(-1))

    def reveal(self, state: Answers, seen: Outlook, turn: Turn) -> tuple[Reveal, Answers]:
        """Ranked by confidence; everything where the answer is decided."""
        open_BL = seen.canvas_BL == self.mask
        open_B = open_BL.sum(-1)
        best_N2 = seen.logits_NV.topk(2, -1).values
        gap_BL = seen.table(best_N2[:, 0] - best_N2[:, 1], 0.0)
        answer_BL = open_BL & self._answer(open_BL)
        left_B = answer_BL.sum(-1)
        gap_B = gap_BL.where(answer_BL, 0).sum(-1) / left_B.clamp_min(1)
        # The largest finite number: a bar of inf is out of reach.
        gap_B = gap_B.masked_fill(left_B == 0, math.inf).clamp_max(torch.finfo(gap_B.dtype).max)
        thrice_B = 3 * (state.places_B - open_B)
        bar_B = torch.full_like(gap_B, self.late).masked_fill(thrice_B < 2 * state.places_B, self.middle)
        bar_B = bar_B.masked_fill(thrice_B < state.places_B, self.early)
        decided_B = state.some_B & (gap_B >= bar_B)
        reveal = ranked(seen, turn, seen.confidence_BL, self.per_step)
        return Reveal(reveal.tokens_BL, reveal.settled_BL | (open_BL & decided_B[:, None])), state

    def _answer(self, canvas_BL: Tensor) -> Tensor:
        """answer_L: the answer's places."""
        place_L = torch.arange(canvas_BL.shape[1], device=canvas_BL.device)
        behind = canvas_BL.shape[1] if self.answer_places is None else self.answer_first + self.answer_places
        return (place_L >= self.answer_first) & (place_L < behind)
