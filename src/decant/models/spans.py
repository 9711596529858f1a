"""New rows of one forward, request by request: where they go, where they stand, and what each may read.

A request's rows fill consecutive slots of its cache. Below its length slot and position agree; node i of a draft lies
in slot `length + i`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A draft that branches, on the host. sees_NN: of a node, itself and its ancestors; position_N: of the nodes."""

    sees_NN: Tensor
    position_N: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Rows of one request, in the slots from `first` on.

    request: its index in the batch.
    ids_Q:   what they hold.
    length:  tokens of the request; slots from there on are nodes of a draft.
    fed_QD:  what enters the network in place of the ids' own embeddings (`superposed.py`).
    """

    request: int
    first: int
    ids_Q: Tensor
    length: int
    tree: Tree | None = None
    fed_QD: Tensor | None = None

    @property
    def count(self) -> int:
        """Rows."""
        return len(self.ids_Q)

    @property
    def stop(self) -> int:
        """The slot behind the last."""
        return self.first + len(self.ids_Q)

    def cut(self, begin: int, end: int) -> "Span":
        """Rows [begin, end) of these."""
        fed_QD = None if self.fed_QD is None else self.fed_QD[begin:end]
        return replace(self, first=self.first + begin, ids_Q=self.ids_Q[begin:end], fed_QD=fed_QD)

    def positions(self) -> Tensor:
        """position_Q, on the host."""
        slot_Q = torch.arange(self.first, self.stop)
        if self.tree is None:
            return slot_Q
        plain = max(0, self.length - self.first)
        return torch.cat([slot_Q[:plain], self.tree.position_N[self._nodes()]])

    def reads(self, reach: int, window: int = 0) -> Tensor:
        """allow_QS, on the host: which of the slots [0, reach) each row reads.

        window: positions that a row sees, itself included; 0: all.
        """
        slot_S, slot_Q1 = torch.arange(reach), torch.arange(self.first, self.stop)[:, None]
        if self.tree is None:
            allow_QS = slot_S <= slot_Q1
            return allow_QS & (slot_S > slot_Q1 - window) if window else allow_QS
        allow_QS = slot_S <= slot_Q1.clamp_max(self.length - 1)
        node = slice(self.length, min(reach, self.length + len(self.tree.position_N)))
        plain = max(0, self.length - self.first)
        allow_QS[plain:, node] = self.tree.sees_NN[self._nodes(), : node.stop - node.start]
        if not window:
            return allow_QS
        position_S = slot_S.clone()
        position_S[node] = self.tree.position_N[: node.stop - node.start]
        return allow_QS & (position_S > self.positions()[:, None] - window)

    def _nodes(self) -> slice:
        """Which nodes of the tree are among these rows."""
        return slice(max(0, self.first - self.length), max(0, self.stop - self.length))


def blocks(spans: Sequence[Span], size: int) -> list[list[Span]]:
    """The same rows in forwards of at most `size`, in order: later rows of a request may read earlier ones."""
    found: list[list[Span]] = [[]]
    room = size
    for span in spans:
        begin = 0
        while begin < span.count:
            if not room:
                found.append([])
                room = size
            end = min(span.count, begin + room)
            found[-1].append(span.cut(begin, end))
            room -= end - begin
            begin = end
    return found


def additive(allow: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask to add, 0 where allowed. A float one: eager attention *adds* a bool one. finfo.min, not -inf: a row that
    sees nothing must not be nan."""
    return allow.logical_not().to(dtype).mul_(torch.finfo(dtype).min)


def stacked(masks: Sequence[Tensor], rows: int) -> Tensor:
    """allow_BQS of ragged masks; rows that fill up read nothing."""
    return torch.stack([pad(mask, (0, 0, 0, rows - len(mask))) for mask in masks])
