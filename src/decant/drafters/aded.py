"""ADED: a table of trigrams, taught by the text as it is written, and searched by Monte-Carlo tree search.

The released code looks a roll-out's reward up under the token before the new one, which makes rewards nearly constant;
here a path is worth the weights of its own trigrams. The paper's table is counted from a corpus beforehand (hundreds of
megabytes); ours begins empty, or with what earlier texts have taught it.

Source: Liu et al. 2024, arXiv:2407.12021.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import log, sqrt
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from decant.drafting.tries import Trie, laid_out
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import latest
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

Pair = tuple[int, int]
Successors = tuple[tuple[int, float], ...]
"""(token, weight), heaviest first."""

STEP: Final = 0.04  # a trigram's weight grows by this in every round in which it is recent
HEAVIEST: Final = 3.0  # and no further
RECENT: Final = 16  # tokens whose trigrams a round teaches
SUCCESSORS: Final = 12  # kept a pair
EXPLORATION: Final = (32.0, 8.0)  # c1 and c2 of the selection score
FOLD: Final = 4096  # pairs that are copied a step, at most


@final
@dataclass(frozen=True, slots=True, eq=False)
class Trigrams:
    """What follows each pair of tokens. `new` are the pairs touched of late; there they count, not in `old`.

    One table for all requests: they teach each other, and none of them leaves a hole when it goes.
    """

    old: Mapping[Pair, Successors] = field(default_factory=dict)
    new: Mapping[Pair, Successors] = field(default_factory=dict)

    def after(self, pair: Pair) -> Successors:
        """Of a pair; empty where it was never seen."""
        return self.new.get(pair) or self.old.get(pair, ())

    def taught(self, texts: Iterable[Sequence[int]], pairs: int) -> "Trigrams":
        """Every trigram of the texts once more; the `pairs` touched last stay."""
        new = dict(self.new)
        for text in texts:
            for first, second, third in zip(text, text[1:], text[2:], strict=False):
                known = new.get((first, second)) or self.old.get((first, second), ())
                new[first, second] = _heavier(known, third)
        return Trigrams(self.old, new) if len(new) < FOLD else Trigrams(self.old, new).folded(pairs)

    def folded(self, pairs: int) -> "Trigrams":
        """The same table with nothing new; of more than `pairs` the latest."""
        rows = {pair: row for pair, row in self.old.items() if pair not in self.new} | dict(self.new)
        return Trigrams(dict(list(rows.items())[-pairs:]))

    def select(self, rows_R: Tensor) -> "Trigrams":
        """The same table."""
        return self

    def join(self, other: "Trigrams") -> "Trigrams":
        """What either knows; of two weights the larger."""
        rows = dict(other.new) if other.old is self.old else {**other.old, **other.new}
        return Trigrams(self.old, {**self.new, **{pair: _united(self.after(pair), row) for pair, row in rows.items()}})


@final
@dataclass(frozen=True, slots=True, eq=False)
class AdedState:
    """recent_BR: the last tokens of each request, left-padded; trigrams: the table that they share."""

    recent_BR: Tensor
    trigrams: Trigrams


@final
@dataclass(frozen=True, slots=True)
class Aded:
    """Search the table from the last two tokens on; the paths walked most are the tree.

    iterations: of the search. length: tokens of a path. prefixes: the most visited paths, each of which is extended by
        the heaviest token behind it. nodes: of the tree, at most; 64 were chosen for GPUs.
    pairs:      of tokens that the table remembers. learnt: the table to start from (`warmed` sets it).

    A search of 150 iterations takes 1 to 3 ms of a CPU a request (tables of few and of many successors, measured on a
    Xeon): little beside a pass of a model of half a billion weights, too much beside one of a few millions. Roll-outs
    use counted noise of their own. Raises BadInput for a knob below 1.
    """

    iterations: int = 150
    length: int = 4
    prefixes: int = 24
    nodes: int = 16
    pairs: int = 100_000
    learnt: Trigrams | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if min(self.iterations, self.length, self.prefixes, self.nodes, self.pairs) < 1:
            raise BadInput(
                f"aded needs iterations, length, prefixes, nodes and pairs >= 1, got iterations {self.iterations}, "
                f"length {self.length}, prefixes {self.prefixes}, nodes {self.nodes}, pairs {self.pairs}"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> AdedState:
        """Learn the trigrams of the prompts."""
        texts = [[token for token in row if token != PAD] for row in prompt_BT.tolist()]
        trigrams = (self.learnt or Trigrams()).taught(texts, self.pairs)
        return AdedState(latest(prompt_BT, (prompt_BT != PAD).sum(-1), RECENT), trigrams)

    def draft(self, state: AdedState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """One search a request."""
        length = min(self.length, shape.depth)
        lane_L = torch.arange(self.iterations * max(length, 1), device=noise.seed_B.device)
        chances_BL = noise.uniform(torch.zeros_like(noise.seed_B)[:, None], "roll-out", lane_L)
        pairs = state.recent_BR[:, -2:].tolist()  # sync: the table lies on the host
        tries = [
            _Search(state.trigrams, length).walked(self.iterations, (first, second), iter(chances)).tree(self.prefixes)
            for (first, second), chances in zip(pairs, chances_BL.tolist(), strict=True)
        ]
        return laid_out([trie.cut(shape, self.nodes) for trie in tries], noise.seed_B.device)

    def observe(self, state: AdedState, draft: Draft, verdict: Verdict, scores: Scores) -> AdedState:
        """Learn the trigrams of the last tokens, those of the last round once more."""
        said_BT = torch.cat([state.recent_BR, verdict.tokens_BC], dim=1)
        recent_BR = latest(said_BT, verdict.committed_B + RECENT, RECENT)
        texts = [[token for token in row if token != PAD] for row in recent_BR.tolist()]  # sync: so does what it learns
        return AdedState(recent_BR, state.trigrams.taught(texts, self.pairs))

    def warmed(self, state: AdedState) -> "Aded":
        """This drafter, starting from what `state` knows."""
        return replace(self, learnt=state.trigrams)

    def stored(self, state: AdedState, room: int) -> dict[str, Tensor]:
        """The pairs touched last that fit `room` bytes."""
        fitting = min(self.pairs, room // (8 + 8 * SUCCESSORS))
        rows = state.trigrams.folded(fitting).old if fitting else {}
        shape = (len(rows), SUCCESSORS)
        tokens_RS, weights_RS = np.full(shape, PAD, dtype=np.int32), np.zeros(shape, dtype=np.float32)
        for at, row in enumerate(rows.values()):  # not at once: that would hold up a server's other threads
            tokens_RS[at, : len(row)], weights_RS[at, : len(row)] = zip(*row, strict=True)
        return {
            "pairs": torch.tensor(list(rows), dtype=torch.int32).view(-1, 2),
            "successors": torch.from_numpy(tokens_RS),
            "weights": torch.from_numpy(weights_RS),
        }

    def restored(self, tensors: dict[str, Tensor]) -> "Aded":
        """This drafter, with the table that was stored. Raises BadInput for tensors that are none."""
        parts = [tensors[name].tolist() for name in ("pairs", "successors", "weights") if name in tensors]
        if len(parts) != 3 or len({len(part) for part in parts}) != 1:
            raise BadInput("these are not stored trigrams of aded; start with an empty store")
        rows = {
            (first, second): tuple((c, w) for c, w in zip(tokens, weights, strict=True) if c != PAD)
            for (first, second), tokens, weights in zip(*parts, strict=True)
        }
        return replace(self, learnt=Trigrams(rows))


@final
class _Search:
    """One tree of states. Node 0 is the root; what a node adds is its token, under the pair in front of it."""

    def __init__(self, trigrams: Trigrams, length: int) -> None:
        self.trigrams, self.length = trigrams, length
        self.pairs: list[Pair] = []
        self.weights, self.visits, self.scores, self.depths = [0.0], [0], [0.0], [0]
        self.parents, self.children = [PAD], [range(0)]

    def walked(self, iterations: int, pair: Pair, chances: Iterator[float]) -> "_Search":
        """After so many walks from the pair, each one deeper into the tree and then at random to the full length."""
        self.pairs.append(pair)
        for _ in range(iterations if self.length and self.trigrams.after(pair) else 0):
            path = [0]
            while self.children[path[-1]]:
                path.append(self._selected(path[-1]))
            leaf = path[-1]
            self._expand(leaf)
            reward = 1.0 + sum(self.weights[node] for node in path) + self._rolled_out(leaf, chances)
            for node in path:
                self.visits[node] += 1
                self.scores[node] += reward
        return self

    def tree(self, prefixes: int) -> Trie:
        """The most visited paths, and behind each the heaviest token."""
        order = sorted(range(1, len(self.pairs)), key=lambda node: (-self.visits[node], node))
        walked = [node for node in order[:prefixes] if self.visits[node]]
        paths = {node: self._path(node) for node in walked}
        extended = [
            ((*paths[node], row[0][0]), self.visits[node] * row[0][1] / sum(weight for _, weight in row))
            for node in walked
            if (row := self.trigrams.after(self.pairs[node]))
        ]
        return Trie.of_paths([*((paths[node], float(self.visits[node])) for node in walked), *extended])

    def _selected(self, node: int) -> int:
        """The child of the best score; one that was never visited comes first, the heaviest of them."""
        own = self.visits[node]
        bonus = (EXPLORATION[0] + log((own + EXPLORATION[1] + 1) / EXPLORATION[1])) * sqrt(own)
        best, chosen = -1.0, PAD
        for child in self.children[node]:
            visits = self.visits[child]
            if not visits:
                return child
            score = self.scores[child] / visits + bonus * self.weights[child] / (1 + visits)
            if score > best:
                best, chosen = score, child
        return chosen

    def _expand(self, node: int) -> None:
        if self.depths[node] == self.length:
            return
        first, (_, last) = len(self.pairs), self.pairs[node]
        for token, weight in self.trigrams.after(self.pairs[node]):
            self.pairs.append((last, token))
            self.weights.append(weight)
            self.visits.append(0)
            self.scores.append(0.0)
            self.depths.append(self.depths[node] + 1)
            self.parents.append(node)
            self.children.append(range(0))
        self.children[node] = range(first, len(self.pairs))

    def _rolled_out(self, node: int, chances: Iterator[float]) -> float:
        """The weights on a random way to the full length: by weight at every step."""
        pair, gained = self.pairs[node], 0.0
        for _ in range(self.length - self.depths[node]):
            row = self.trigrams.after(pair)
            if not row:
                break
            token, weight = _picked(row, next(chances))
            pair, gained = (pair[1], token), gained + weight
        return gained

    def _path(self, node: int) -> tuple[int, ...]:
        path: list[int] = []
        while node:
            path.append(self.pairs[node][1])
            node = self.parents[node]
        return tuple(reversed(path))


def _heavier(row: Successors, token: int) -> Successors:
    """With one more weight of `token`; where there is no room it takes the place of the lightest."""
    weight = next((weight for known, weight in row if known == token), 0.0)
    others = [pair for pair in row if pair[0] != token][: SUCCESSORS - 1]
    return tuple(sorted([*others, (token, min(weight + STEP, HEAVIEST))], key=lambda pair: -pair[1]))


def _picked(row: Successors, chance: float) -> tuple[int, float]:
    """A draw by weight."""
    left = chance * sum(weight for _, weight in row)
    for token, weight in row:
        left -= weight
        if left < 0:
            return token, weight
    return row[-1]


def _united(row: Successors, other: Successors) -> Successors:
    if row == other:
        return row
    weights = dict(row)
    for token, weight in other:
        weights[token] = max(weight, weights.get(token, 0.0))
    return tuple(sorted(weights.items(), key=lambda pair: -pair[1])[:SUCCESSORS])
