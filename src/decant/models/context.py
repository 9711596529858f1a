"""What the causal adapter remembers: requests in flight over one cache, and the draft last scored."""

from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor

from decant.models.cache import Store
from decant.types import PAD, Draft, Scores, Taps


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """The draft last scored, and what came out: only good for the context of this version."""

    version: int
    tokens_BN: Tensor
    parents_BN: Tensor | None
    scores: Scores

    def prefix_of(self, draft: Draft) -> bool:
        """Whether `draft` only adds nodes."""
        nodes = self.tokens_BN.shape[1]
        if (self.parents_BN is None) != (draft.parents_BN is None) or draft.tokens_BN.shape[1] < nodes:
            return False
        same = torch.equal(self.tokens_BN, draft.tokens_BN[:, :nodes])  # sync: may earlier rows be kept?
        if self.parents_BN is None or draft.parents_BN is None:
            return same
        return same and torch.equal(self.parents_BN, draft.parents_BN[:, :nodes])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """Requests in flight. Frozen; what it points to in `store` below `cached` never changes, so it can be returned to.

    lengths: tokens of each request; the last is the root, which is never cached.
    cached:  how many of them lie in the cache; those between are pending.
    memory:  one cell: the draft last scored, shared by all contexts of the store.
    """

    tokens_BT: Tensor
    lengths: tuple[int, ...]
    cached: tuple[int, ...]
    store: Store
    memory: list[Scored | None]
    version: int
    taps: Taps

    def select(self, rows_R: Tensor) -> "Context":
        """The requests `rows_R`, with a cache of their own."""
        rows = rows_R.tolist()
        return replace(
            self,
            tokens_BT=self.tokens_BT[rows_R],
            lengths=tuple(self.lengths[row] for row in rows),
            cached=tuple(self.cached[row] for row in rows),
            store=self.store.select(rows_R),
            memory=[None],
        )

    def join(self, other: "Context") -> "Context":
        """These requests, then the other's."""
        width = max(self.tokens_BT.shape[1], other.tokens_BT.shape[1])
        tokens = [
            torch.nn.functional.pad(t, (0, width - t.shape[1]), value=PAD) for t in (self.tokens_BT, other.tokens_BT)
        ]
        return replace(
            self,
            tokens_BT=torch.cat(tokens),
            lengths=self.lengths + other.lengths,
            cached=self.cached + other.cached,
            store=self.store.join(other.store),
            memory=[None],
            taps=self.taps | other.taps,
        )
