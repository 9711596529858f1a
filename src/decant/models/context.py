"""What the causal adapter remembers: requests in flight over one cache, and the draft last scored."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.models.network import Cache
from decant.types import PAD, Draft, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The draft last scored, and what came out: only good for the context of this version."""

    version: int
    tokens_BN: Tensor
    parents_BN: Tensor | None
    scores: Scores

    @property
    def nodes(self) -> int:
        """Drafted ones."""
        return self.tokens_BN.shape[1]

    def prefix_of(self, draft: Draft) -> bool:
        """Whether `draft` only adds nodes."""
        if (self.parents_BN is None) != (draft.parents_BN is None) or draft.tokens_BN.shape[1] < self.nodes:
            return False
        same = torch.equal(self.tokens_BN, draft.tokens_BN[:, : self.nodes])  # sync: may earlier rows be kept?
        if self.parents_BN is None or draft.parents_BN is None:
            return same
        return same and torch.equal(self.parents_BN, draft.parents_BN[:, : self.nodes])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Requests in flight. Frozen; what lies in `cache` below `cached` never changes, so it can be returned to.

    lengths: tokens of each request; the last is the root, which is never cached.
    cached:  how many of them lie in the cache; those between are pending.
    memory:  one cell: the draft last scored, shared by all contexts of the cache.
    """

    tokens_BT: Tensor
    lengths: tuple[int, ...]
    cached: tuple[int, ...]
    cache: Cache
    memory: list[Scored | None]
    version: int
    taps: Taps

    @classmethod
    def of(cls, prompt_BT: Tensor, lengths: tuple[int, ...], cache: Cache, taps: Taps) -> "Context":
        """Everything but the roots is about to be cached."""
        return cls(prompt_BT, lengths, tuple(n - 1 for n in lengths), cache, [None], 0, taps)

    @property
    def scored(self) -> Scored | None:
        """The draft last scored here, whose rows still lie in the cache."""
        known = self.memory[0]
        return known if known is not None and known.version == self.version and self.cache.owns() else None

    def followed_by(self, verdict: Verdict, new: list[int], cached: list[int]) -> "Context":
        """With what was committed: `new` tokens of each request, so many of all its tokens cached."""
        self.memory[0] = None
        return replace(
            self,
            tokens_BT=_appended(self, verdict.tokens_BC, new),
            lengths=tuple(n + more for n, more in zip(self.lengths, new, strict=True)),
            cached=tuple(cached),
            version=self.version + 1,
        )

    def select(self, rows_R: Tensor) -> "Context":
        """The requests `rows_R`."""
        rows = rows_R.tolist()
        return replace(
            self,
            tokens_BT=self.tokens_BT[rows_R],
            lengths=tuple(self.lengths[row] for row in rows),
            cached=tuple(self.cached[row] for row in rows),
            cache=self.cache.select(rows),
            memory=[None],
        )

    def join(self, other: "Context") -> "Context":
        """These requests, then the other's."""
        width = max(self.tokens_BT.shape[1], other.tokens_BT.shape[1])
        tokens = [pad(t, (0, width - t.shape[1]), value=PAD) for t in (self.tokens_BT, other.tokens_BT)]
        return replace(
            self,
            tokens_BT=torch.cat(tokens),
            lengths=self.lengths + other.lengths,
            cached=self.cached + other.cached,
            cache=self.cache.join(other.cache),
            memory=[None],
            taps=self.taps | other.taps,
        )


def _appended(context: Context, new_BC: Tensor, counts: list[int]) -> Tensor:
    """The context's tokens and what was committed, right-padded."""
    lengths, width = context.lengths, context.tokens_BT.shape[1]
    if min(counts) == new_BC.shape[1] and min(lengths) == width:
        return torch.cat([context.tokens_BT, new_BC], 1)
    most = max(length + more for length, more in zip(lengths, counts, strict=True))
    tokens_BT = pad(context.tokens_BT, (0, max(0, most - width)), value=PAD)
    for row, (length, more) in enumerate(zip(lengths, counts, strict=True)):
        tokens_BT[row, length : length + more] = new_BC[row, :more]
    return tokens_BT
