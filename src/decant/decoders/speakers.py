"""Two models, one text: each request's next token is one model's, and the other catches up later.

What a model did not say stays pending in its context, so that however long it was idle, one pass brings it up to date.
A batch whose requests want different models is taken apart for each pass and put together again: pointers for lean
models, a copy of the cache for padded ones.
"""

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel, Warp
from decant.types import PAD, Draft, Scores, Verdict, join_rows, select_rows

C = TypeVar("C")  # a model's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class Turn(Generic[C]):
    """One model, and the requests of a batch that it looks at now.

    rows_R, others_R: those that it looks at, and those that it leaves alone.
    looking, resting: their contexts; None where there are none.
    """

    model: LanguageModel[C]
    rows_R: Tensor
    others_R: Tensor
    looking: C | None
    resting: C | None

    @classmethod
    def of(cls, model: LanguageModel[C], context: C, looks_B: Tensor) -> "Turn[C]":
        """The requests where `looks_B`."""
        rows_R, others_R = looks_B.nonzero().squeeze(-1), (~looks_B).nonzero().squeeze(-1)  # sync: who looks?
        if not len(others_R):
            return cls(model, rows_R, others_R, context, None)
        if not len(rows_R):
            return cls(model, rows_R, others_R, None, context)
        return cls(model, rows_R, others_R, select_rows(context, rows_R), select_rows(context, others_R))

    def scores(self) -> Scores | None:
        """What follows the text of the requests that it looks at: rows as in `rows_R`."""
        if self.looking is None:
            return None
        return self.model.score(self.looking, Draft.nothing(len(self.rows_R), self.rows_R.device))

    def over(self, logits_BV: Tensor) -> Tensor:
        """logits_BV with this model's own, float32, where it looks."""
        scores = self.scores()
        return logits_BV if scores is None else logits_BV.index_copy(0, self.rows_R, scores.logits_BMV[:, 0].float())

    def commit(self, tokens_B1: Tensor) -> C:
        """The whole batch's context after one more token of each request, whoever said it."""
        parts = [
            self.model.commit(part, said(tokens_B1[rows_R]))
            for part, rows_R in ((self.looking, self.rows_R), (self.resting, self.others_R))
            if part is not None
        ]
        if len(parts) == 1:
            return parts[0]
        order_B = torch.cat([self.rows_R, self.others_R]).argsort()
        return select_rows(join_rows(parts[0], parts[1]), order_B)


def said(tokens_BC: Tensor) -> Verdict:
    """Tokens that come from no draft."""
    return Verdict(tokens_BC, torch.full_like(tokens_BC, PAD))


def entropy(logits_XV: Tensor) -> Tensor:
    """bits_X of the law of each row."""
    return torch.special.entr(logits_XV.softmax(-1)).sum(-1) / math.log(2)


def drawn(warp: Warp, constraint: Constraint[Any], state: Any, logits_BV: Tensor, noise: Noise) -> Tensor:
    """tokens_B1: each request's next token from these logits, with the noise that plain decoding would use."""
    logits_B1V = constraint.adjust(state, Draft.nothing(len(logits_BV), logits_BV.device), logits_BV[:, None])
    return noise.draw(warp(logits_B1V).softmax(-1), torch.zeros_like(noise.root_B)[:, None])
