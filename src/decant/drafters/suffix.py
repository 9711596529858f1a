"""SuffixDecoding: what followed the longest recent match, in this text and in all that were written before, counted.

The counts are those of a suffix tree, made of the matches that a draft finds: no tree is kept.

Source: Oliaro et al. 2024, arXiv:2411.04975.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, final

import numpy as np
import torch
from torch import Tensor

from decant.drafting.each import Each
from decant.drafting.tries import Trie, laid_out
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

SHORTEST: Final = 2  # tokens of a match: occurrences are found by pairs
THRESHOLDS: Final = 8  # lengths of matches that a draft compares


@final
@dataclass(slots=True, eq=False)
class _Texts:
    """Texts that grow, interleaved in the order in which tokens were said. Places only ever point backwards in time,
    but for `after`: whoever looks at an earlier moment disregards what came later.

    before, after: the places of a token's neighbours in its own text. older: where the same pair of tokens ended last.
    newest: where each pair ended last of all.
    """

    tokens: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    after: list[int] = field(default_factory=list)
    older: list[int] = field(default_factory=list)
    newest: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, token: int, before: int) -> int:
        """The place of a new token."""
        place = len(self.tokens)
        self.tokens.append(token)
        self.before.append(before)
        self.after.append(PAD)
        older = PAD
        if before != PAD:
            self.after[before] = place
            pair = (self.tokens[before], token)
            older = self.newest.get(pair, PAD)
            self.newest[pair] = place
        self.older.append(older)
        return place


@final
@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """Texts as they stood when `now` tokens had been said: what is added later does not change them.

    Adding a token costs O(1), but for a memory that others have added to since: that one is copied first.
    """

    texts: _Texts = field(default_factory=_Texts)
    now: int = 0

    def told(self, tokens: Sequence[int], before: int = PAD) -> "tuple[Memory, int]":
        """With tokens behind the place `before` (PAD: a new text), and the place of the last."""
        texts = self.texts if len(self.texts.tokens) == self.now else self.since(0).texts
        for token in tokens:
            before = texts.add(token, before)
        return Memory(texts, len(texts.tokens)), before

    def since(self, first: int) -> "Memory":
        """A copy of what was said from the place `first` on; places there are less by `first`."""
        copy = _Texts()
        for place in range(first, self.now):
            copy.add(self.texts.tokens[place], max(PAD, self.texts.before[place] - first))
        return Memory(copy, self.now - first)

    def tail(self, place: int, most: int) -> list[int]:
        """The last tokens of the text that ends there, the last one first."""
        found: list[int] = []
        while place != PAD and len(found) < most:
            found.append(self.texts.tokens[place])
            place = self.texts.before[place]
        return found

    def matches(self, tail: Sequence[int], most: int) -> list[tuple[int, int]]:
        """(tokens alike, place of the last of them) of the latest places that end as `tail` does and are followed by
        something; `tail` is as in `tail`, and is not longer than what is compared."""
        if len(tail) < SHORTEST:
            return []
        found: list[tuple[int, int]] = []
        place = self.texts.newest.get((tail[1], tail[0]), PAD)
        while place != PAD and len(found) < most:
            if place < self.now and PAD < self.texts.after[place] < self.now:
                found.append((self._alike(place, tail), place))
            place = self.texts.older[place]
        return found

    def rows(self, places: Sequence[int], depth: int) -> np.ndarray:
        """tokens_HD behind each place, right-padded."""
        rows_HD = np.full((len(places), depth), PAD, dtype=np.int64)
        for row_D, place in zip(rows_HD, places, strict=True):
            for slot in range(depth):
                place = self.texts.after[place]
                if not PAD < place < self.now:
                    break
                row_D[slot] = self.texts.tokens[place]
        return rows_HD

    def _alike(self, place: int, tail: Sequence[int]) -> int:
        tokens, before, count = self.texts.tokens, self.texts.before, 0
        for token in tail:
            if place == PAD or tokens[place] != token:
                break
            count, place = count + 1, before[place]
        return count


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """own: prompt and output, which end at `end`. place: where its output ends among all texts; PAD: not there yet."""

    own: Memory
    end: int
    place: int = PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class SuffixState:
    """each: the requests. all: what was written by any of them, and before; `begun` tokens of it are no news."""

    each: Each[_Request]
    all: Memory
    begun: int

    def select(self, rows_R: Tensor) -> "SuffixState":
        """The requests `rows_R`; the memory stays whole."""
        return replace(self, each=self.each.select(rows_R))

    def join(self, other: "SuffixState") -> "SuffixState":
        """These requests, then the other's, and what those have written since they began."""
        if other.all.texts is self.all.texts:
            known = max(self.all, other.all, key=lambda memory: memory.now)
            return SuffixState(self.each.join(other.each), known, self.begun)
        known = self.all
        places: dict[int, int] = {PAD: PAD}
        for place in range(other.begun, other.all.now):
            before = places.get(other.all.texts.before[place], PAD)
            known, places[place] = known.told([other.all.texts.tokens[place]], before)
        moved = Each(tuple(replace(one, place=places.get(one.place, PAD)) for one in other.each.of))
        return SuffixState(self.each.join(moved), known, self.begun)


@final
@dataclass(frozen=True, slots=True)
class Suffix:
    """Take every place that ends as the text does now; what followed them, counted, is a tree. Of the trees that
    shorter and longer matches give, in this text and in all outputs so far, the one that promises most tokens.

    longest: tokens of a match, at most. factor: nodes a matched token, so that long matches guess far ahead.
    nodes:   at most; floor: how often, of all matches, a path must have come up.
    hits:    the latest matches that count. room: tokens of past outputs that are remembered.
    learnt:  past outputs (`warmed` sets it).

    O(1) a new token; a draft looks at `hits` places. Raises BadInput for a knob out of range.
    """

    longest: int = 32
    factor: float = 2.0
    nodes: int = 16
    floor: float = 0.1
    hits: int = 64
    room: int = 200_000
    learnt: Memory | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        counts = (self.nodes, self.hits, self.room)
        if self.longest < SHORTEST or self.factor <= 0 or min(counts) < 1 or not 0 <= self.floor <= 1:
            raise BadInput(
                f"suffix needs longest >= {SHORTEST}, factor > 0, nodes, hits and room >= 1 and a floor between 0 and "
                f"1, got longest {self.longest}, factor {self.factor:g}, nodes {self.nodes}, hits {self.hits}, room "
                f"{self.room}, floor {self.floor:g}"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> SuffixState:
        """Read the prompts; only outputs are for everybody."""
        texts = [[token for token in row if token != PAD] for row in prompt_BT.tolist()]
        known = self.learnt or Memory()
        return SuffixState(Each(tuple(_Request(*Memory().told(text)) for text in texts)), known, known.now)

    def draft(self, state: SuffixState, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """The better of the text's own tree and everybody's."""
        tries: list[Trie] = []
        for one in state.each.of:
            tail = one.own.tail(one.end, self.longest)
            found = [self._guessed(memory, tail, shape) for memory in (one.own, state.all)]
            tries.append(max(found, key=lambda trie: sum(trie.worth)))
        return laid_out(tries, noise.seed_B.device)

    def observe(self, state: SuffixState, draft: Draft, verdict: Verdict, scores: Scores) -> SuffixState:
        """Remember what was committed; an output begins with the end of its prompt."""
        known, each = state.all, list[_Request]()
        for one, row in zip(state.each.of, verdict.tokens_BC.tolist(), strict=True):  # sync: memory lies on the host
            said = [token for token in row if token != PAD]
            news = said if one.place != PAD else one.own.tail(one.end, self.longest)[::-1] + said
            own, end = one.own.told(said, one.end)
            known, place = known.told(news, one.place)
            each.append(_Request(own, end, place))
        gone = known.now - self.room
        if gone <= self.room:
            return replace(state, each=Each(tuple(each)), all=known)
        moved = tuple(replace(one, place=max(PAD, one.place - gone)) for one in each)
        return SuffixState(Each(moved), known.since(gone), max(0, state.begun - gone))

    def warmed(self, state: SuffixState) -> "Suffix":
        """This drafter, remembering what `state` does."""
        return replace(self, learnt=state.all)

    def stored(self, state: SuffixState, room: int) -> dict[str, Tensor]:
        """The latest outputs that fit `room` bytes."""
        known = state.all.since(max(0, state.all.now - min(self.room, room // 8)))
        parts = (known.texts.tokens, known.texts.before)
        tokens_T, before_T = (torch.tensor(part, dtype=torch.int32) for part in parts)
        return {"tokens": tokens_T, "before": before_T}

    def restored(self, tensors: dict[str, Tensor]) -> "Suffix":
        """This drafter, with the outputs that were stored. Raises BadInput for tensors that are none."""
        tokens, before = (tensors[name].tolist() if name in tensors else [] for name in ("tokens", "before"))
        texts = _Texts()
        if len(tokens) != len(before) or any(not PAD <= at < place for place, at in enumerate(before)):
            raise BadInput("these are not stored outputs of suffix; start with an empty store")
        for token, at in zip(tokens, before, strict=True):
            texts.add(token, at)
        return replace(self, learnt=Memory(texts, len(tokens)))

    def _guessed(self, memory: Memory, tail: list[int], shape: DraftShape) -> Trie:
        """What followed matches of the length that promises most; worth is the share of them that a path has."""
        found = sorted(memory.matches(tail, self.hits), reverse=True)
        if not found or shape.depth < 1:
            return Trie()
        lengths = sorted({length for length, _ in found}, reverse=True)[:THRESHOLDS]
        depth = min(shape.depth, max(1, int(self.factor * lengths[0])), self.nodes)
        rows_HD = memory.rows([place for _, place in found], depth)
        best = Trie()
        for length in lengths:
            hits = sum(1 for long, _ in found if long >= length)
            trie = Trie.counted(rows_HD[:hits])
            trie = replace(trie, worth=tuple(count / hits for count in trie.worth))
            trie = trie.only([node for node, share in enumerate(trie.worth) if share >= self.floor])
            trie = trie.cut(shape, min(self.nodes, max(1, int(self.factor * length))))
            if sum(trie.worth) > sum(best.worth):
                best = trie
        return best
