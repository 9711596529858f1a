"""Guesses of one request as a tree of distinct paths: counted, merged, cut, and laid out as a draft."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch

from decant.types import PAD, Draft, DraftShape, Path

Paths = Iterable[tuple[Sequence[int], float]]
"""(tokens of a path, its worth)."""


@final
@dataclass(frozen=True, slots=True)
class Trie:
    """Parents before children, no two siblings alike.

    parents: of each node, PAD for a child of the root.
    worth:   larger ones are kept first; siblings rank by it.
    """

    tokens: tuple[int, ...] = ()
    parents: tuple[int, ...] = ()
    worth: tuple[float, ...] = ()

    @classmethod
    def of_paths(cls, paths: Paths) -> "Trie":
        """All paths, common beginnings once; a node is worth what the worthiest path through it is."""
        return cls().joined(paths)

    @classmethod
    def counted(cls, rows_HD: np.ndarray) -> "Trie":
        """Every beginning of every row; worth is how many rows begin so.

        rows_HD: int64, right-padded with PAD. Breadth first. O(H D log H).
        """
        if not rows_HD.size:
            return cls()
        rows_HD = rows_HD[np.lexsort(rows_HD.T[::-1])]
        real_HD = rows_HD != PAD
        alike_H = np.zeros(len(rows_HD), dtype=np.int64)  # how many tokens a row begins with as the one before it does
        alike_H[1:] = np.cumprod(rows_HD[1:] == rows_HD[:-1], axis=1).sum(1)
        first_HD = (np.arange(rows_HD.shape[1]) >= alike_H[:, None]) & real_HD
        levels_D = first_HD.sum(0)
        node_HD = first_HD.cumsum(0) - 1 + (levels_D.cumsum() - levels_D)
        counts_N = np.bincount(node_HD[real_HD], minlength=int(levels_D.sum()))
        above_HD = np.concatenate([np.full_like(node_HD[:, :1], PAD), node_HD[:, :-1]], axis=1)
        tokens_N, parents_N = rows_HD.T[first_HD.T], above_HD.T[first_HD.T]
        return cls(tuple(tokens_N.tolist()), tuple(parents_N.tolist()), tuple(map(float, counts_N.tolist())))

    def joined(self, paths: Paths) -> "Trie":
        """These nodes in front, as they are; then what the paths add to them."""
        tokens, parents, worth = list(self.tokens), list(self.parents), list(self.worth)
        place = {pair: node for node, pair in enumerate(zip(parents, tokens, strict=True))}
        own = len(tokens)
        for path, value in paths:
            at = PAD
            for token in path:
                child = place.get((at, token))
                if child is None:
                    child = place[at, token] = len(tokens)
                    tokens.append(token)
                    parents.append(at)
                    worth.append(value)
                elif child >= own:
                    worth[child] = max(worth[child], value)
                at = child
        return Trie(tuple(tokens), tuple(parents), tuple(worth))

    def depths(self) -> list[int]:
        """Of every node; a child of the root has depth 1."""
        found: list[int] = []
        for parent in self.parents:
            found.append(1 if parent == PAD else found[parent] + 1)
        return found

    def paths(self) -> list[tuple[int, ...]]:
        """The tokens from the root to every node."""
        found: list[tuple[int, ...]] = []
        for token, parent in zip(self.tokens, self.parents, strict=True):
            found.append((token,) if parent == PAD else (*found[parent], token))
        return found

    def best(self, nodes: int) -> "Trie":
        """The worthiest `nodes`, in that order; of equals the shallower, then the earlier."""
        worth: list[float] = []  # a node is worth no more than its parent, so that it does not come before it
        for own, parent in zip(self.worth, self.parents, strict=True):
            worth.append(own if parent == PAD else min(own, worth[parent]))
        depth = self.depths()
        order = sorted(range(len(self.tokens)), key=lambda node: (-worth[node], depth[node], node))
        return self.only(order[: max(0, nodes)])

    def cut(self, shape: DraftShape, nodes: int) -> "Trie":
        """What a shape leaves: no deeper, within its budget and `nodes`; of a template only the ranks that it names."""
        depth, kept = self.depths(), self
        if max(depth, default=0) > shape.depth:
            kept = self.only([node for node, deep in enumerate(depth) if deep <= shape.depth])
        if shape.template is not None:
            named = set(shape.template)
            kept = kept.only([node for node, ranks in enumerate(kept._ranks()) if ranks in named])
        return kept.best(nodes if shape.budget is None else min(nodes, shape.budget))

    def only(self, order: Sequence[int]) -> "Trie":
        """Some of the nodes, in this order; each behind its parent."""
        place = {PAD: PAD} | {node: new for new, node in enumerate(order)}
        return Trie(
            tuple(self.tokens[node] for node in order),
            tuple(place[self.parents[node]] for node in order),
            tuple(self.worth[node] for node in order),
        )

    def _ranks(self) -> list[Path]:
        """Every node as a path of ranks; the worthiest sibling has rank 0."""
        children: dict[int, list[int]] = {}
        for node, parent in enumerate(self.parents):
            children.setdefault(parent, []).append(node)
        for siblings in children.values():
            siblings.sort(key=lambda node: -self.worth[node])
        rank = {node: place for siblings in children.values() for place, node in enumerate(siblings)}
        found: list[Path] = []
        for node, parent in enumerate(self.parents):
            found.append((rank[node],) if parent == PAD else (*found[parent], rank[node]))
        return found


def laid_out(tries: Sequence[Trie], device: torch.device) -> Draft:
    """A draft of fixed guesses, one trie a request, right-padded."""
    width = max((len(trie.tokens) for trie in tries), default=0)
    tokens = [[*trie.tokens, *[PAD] * (width - len(trie.tokens))] for trie in tries]
    parents = [[*trie.parents, *[PAD] * (width - len(trie.parents))] for trie in tries]
    tokens_BN, parents_BN = (
        torch.tensor(rows, dtype=torch.int64, device=device).view(len(tries), width) for rows in (tokens, parents)
    )
    return Draft(tokens_BN, parents_BN)
