"""K continuations of each request, scored side by side: as one draft tree, or in K copies where the target takes none.

A tree reads the text's cache once and copies nothing; only the newest level of it is computed.
"""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.speakers import said
from decant.protocols import Constraint, LanguageModel
from decant.types import PAD, Draft, Scores, Verdict, select_rows

C = TypeVar("C")  # the target's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class Fork(Generic[C]):
    """paths_BKL: L tokens of each path so far, PAD where it is absent, or over.

    context and constraint are the requests' own where the target takes trees, else K rows of each.
    """

    target: LanguageModel[C]
    rules: Constraint[Any]
    context: C
    constraint: Any
    paths_BKL: Tensor

    @classmethod
    def of(
        cls, target: LanguageModel[C], rules: Constraint[Any], context: C, constraint: Any, tokens_BK: Tensor
    ) -> "Fork[C]":
        """Paths of one token."""
        if not target.trees:
            batch, paths = tokens_BK.shape
            rows_X = torch.arange(batch, device=tokens_BK.device).repeat_interleave(paths)
            context, constraint = select_rows(context, rows_X), select_rows(constraint, rows_X)
        return cls(target, rules, context, constraint, tokens_BK[..., None])

    def grown(self, tokens_BK: Tensor) -> "Fork[C]":
        """Each path by one token."""
        paths_BKL = torch.cat([self.paths_BKL, tokens_BK[..., None]], -1)
        return Fork(self.target, self.rules, self.context, self.constraint, paths_BKL)

    def score(self) -> Scores:
        """Of the target, rows as it gives them."""
        return self.target.score(self.context, self._draft())

    def newest(self, rows_BMX: Tensor) -> Tensor:
        """rows_BKX: those of the newest tokens."""
        batch, paths = self.paths_BKL.shape[:2]
        newest = slice(-paths, None) if self.target.trees else slice(-1, None)
        return rows_BMX[:, newest].reshape(batch, paths, -1)

    def ruled(self, scores: Scores) -> Tensor:
        """logits_BKV behind the newest tokens, as the constraint leaves them."""
        return self.newest(self.rules.adjust(self.constraint, self._draft(), scores.logits_BMV.float()))

    def taken(self, best_B: Tensor) -> C:
        """The context behind the first token of one path of each request. Good for a fork just scored."""
        batch, paths = self.paths_BKL.shape[:2]
        if self.target.trees:
            tokens_B1 = self.paths_BKL[..., 0].gather(1, best_B[:, None])
            return self.target.commit(self.context, Verdict(tokens_B1, best_B[:, None]))
        first_B = torch.arange(0, batch * paths, paths, device=best_B.device)
        after = self.target.commit(self.context, said(self.paths_BKL[..., 0].flatten()[:, None]))
        return select_rows(after, first_B + best_B)

    def _draft(self) -> Draft:
        if not self.target.trees:
            return Draft(self.paths_BKL.flatten(0, 1))
        paths = self.paths_BKL.shape[1]
        tokens_BN = self.paths_BKL.transpose(1, 2).flatten(1)
        above_N = (torch.arange(tokens_BN.shape[1], device=tokens_BN.device) - paths).clamp_min(PAD)
        return Draft(tokens_BN, above_N.expand_as(tokens_BN))


def bare(target: LanguageModel[Any], batch: int, device: torch.device) -> Draft:
    """Nothing yet, of the kind of draft that a fork is: what follows the root is then not computed again."""
    nothing = Draft.nothing(batch, device)
    return Draft(nothing.tokens_BN, nothing.tokens_BN) if target.trees else nothing
