"""Repetition penalty: every token that was said, in the prompt too, has its logit divided, or multiplied below zero.

Source: Keskar et al. 2019, arXiv:1909.05858; negative logits as in transformers.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import on_counts, tallied
from decant.types import Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class RepetitionPenalty:
    """penalty: 1 changes nothing, more discourages repetition, less invites it. The state is a count of each id.

    O(M V) a step, however long the history. Raises BadInput unless the penalty is positive and finite.
    """

    penalty: float = 1.2

    def __post_init__(self) -> None:
        if not (self.penalty > 0 and math.isfinite(self.penalty)):
            raise BadInput(f"repetition-penalty must be positive and finite, got {self.penalty}; 1 changes nothing")

    def start(self, prompt_BT: Tensor) -> Tensor:
        """counts_BW of the prompt."""
        return tallied(prompt_BT[:, :0], prompt_BT, int(prompt_BT.max()) + 1)  # sync: what is the largest id?

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """Once, however often a token was said."""
        return on_counts(logits_BMV, state, draft, self._penalised)

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """counts_BW with what was committed."""
        return tallied(state, verdict.tokens_BC, scores.logits_BMV.shape[-1])

    def _penalised(self, logits_X: Tensor, counts_X: Tensor) -> Tensor:
        # The smaller of the two is the quotient above zero, the product below; for penalties under 1 the larger is.
        of_two = torch.minimum if self.penalty > 1 else torch.maximum
        return torch.where(counts_X > 0, of_two(logits_X / self.penalty, logits_X * self.penalty), logits_X)
