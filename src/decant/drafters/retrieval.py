"""Retrieval: what follows the last few tokens in a datastore of texts, counted.

Source: He et al. 2023, arXiv:2311.08252.
"""

import json
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor

from decant.drafting.tries import Trie, laid_out
from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import latest
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict

LONGEST: Final = 16  # tokens of a match; the order of a datastore looks no further back
TOKENS, ORDER, FACTS = "tokens.npy", "order.npy", "datastore.json"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Datastore:
    """tokens: all texts, PAD in front of each; order: their places, sorted by the tokens read backwards from there.

    A suffix array of the mirrored text, so that one search finds the longest match and everything that shares it.
    """

    tokens: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, texts: Iterable[Sequence[int]]) -> "Datastore":
        """Sorted by doubling: O(n log n) four times, about a second a million tokens."""
        spelt = np.fromiter(chain.from_iterable([PAD, *text] for text in texts), dtype=np.int32)
        rank = np.unique(spelt, return_inverse=True)[1] + 1
        order = np.argsort(rank, kind="stable")
        reach = 1
        while reach < LONGEST and len(rank):
            further = np.concatenate([np.zeros(min(reach, len(rank)), dtype=rank.dtype), rank[:-reach]])
            order = np.lexsort((further, rank))
            new = (rank[order][1:] != rank[order][:-1]) | (further[order][1:] != further[order][:-1])
            rank = np.empty_like(rank)
            rank[order] = np.concatenate([[1], 1 + new.cumsum()])
            reach *= 2
        return cls(spelt, order.astype(np.int32 if len(order) < 2**31 else np.int64))

    def write(self, folder: str | os.PathLike[str], origin: Mapping[str, Any] | None = None) -> None:
        """As a folder that `Retrieval(store=...)` reads; its facts are written last.

        origin: what else they say, of where the texts came from; JSON-ready.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        (path / FACTS).unlink(missing_ok=True)
        np.save(path / TOKENS, self.tokens)
        np.save(path / ORDER, self.order)
        facts = {**(origin or {}), "tokens": len(self.tokens), "largest": int(self.tokens.max(initial=PAD))}
        (path / FACTS).write_text(json.dumps(facts))

    def following(self, tail: Sequence[int], shortest: int, most: int, depth: int) -> np.ndarray:
        """tokens_HD behind the longest match of the end of a text; at most `most` of its places, evenly spread.

        tail: the text's last tokens, the last one first.
        """
        wanted = tuple(tail[:LONGEST])
        at = bisect_left(self.order, wanted, key=self._backwards)
        near = [self._backwards(place) for place in self.order[max(0, at - 1) : at + 1]]
        length = max((_alike(wanted, found) for found in near), default=0)
        if length < shortest:
            return np.empty((0, depth), dtype=np.int64)
        wanted = wanted[:length]
        first = bisect_left(self.order, wanted, hi=at, key=lambda place: self._backwards(place)[:length])
        stop = bisect_right(self.order, wanted, lo=at, key=lambda place: self._backwards(place)[:length])
        return self._rows(np.asarray(self.order[first : stop : -(-(stop - first) // most)], dtype=np.int64), depth)

    def _rows(self, places: np.ndarray, depth: int) -> np.ndarray:
        """What stands behind each place, up to the end of its text."""
        at_HD = places[:, None] + 1 + np.arange(depth)
        rows_HD = self.tokens[at_HD.clip(max=len(self.tokens) - 1)].astype(np.int64)
        inside_HD = ((rows_HD != PAD) & (at_HD < len(self.tokens))).cumprod(1).astype(bool)
        return np.where(inside_HD, rows_HD, PAD)

    def _backwards(self, place: int) -> tuple[int, ...]:
        place = int(place)
        return tuple(self.tokens[max(0, place + 1 - LONGEST) : place + 1][::-1].tolist())


@final
@dataclass(frozen=True, slots=True)
class Retrieval:
    """The commonest continuations of the longest match, as a tree. The datastore stays on disk, mapped into memory.

    store:    a folder that `decant datastore` made (or `Datastore.of(texts).write(folder)`), of texts in the target's
        own token ids.
    shortest: tokens of a match, at least. hits: places that are counted. continuation: tokens behind each.
    nodes:    of the tree, at most; 64 were chosen for GPUs, where rows are nearly free.

    About 100 reads of the datastore a draft and request. Raises BadInput for a knob out of range, a folder that is
    no datastore, or one with ids that the target does not have.
    """

    store: str = ""
    shortest: int = 2
    hits: int = 1000
    continuation: int = 10
    nodes: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= LONGEST or min(self.hits, self.continuation, self.nodes) < 1:
            raise BadInput(
                f"retrieval needs shortest between 1 and {LONGEST}, and hits, continuation and nodes >= 1, got "
                f"shortest {self.shortest}, hits {self.hits}, continuation {self.continuation}, nodes {self.nodes}"
            )
        opened(self.store)

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> Tensor:
        """The last tokens of each request, left-padded."""
        vocab, (_, largest) = prefill.logits_BMV.shape[-1], opened(self.store)
        if largest >= vocab:
            raise BadInput(
                f"the datastore {self.store} holds the id {largest}, but the target has {vocab} ids; make it again "
                f"with decant datastore and the target's tokenizer"
            )
        return latest(prompt_BT, (prompt_BT != PAD).sum(-1), LONGEST)

    def draft(self, state: Tensor, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """One search a request."""
        found, depth = opened(self.store)[0], min(self.continuation, shape.depth)
        tails = [[token for token in row[::-1] if token != PAD] for row in state.tolist()]  # sync: it lies on the host
        rows = [found.following(tail, self.shortest, self.hits, depth) for tail in tails]
        return laid_out([Trie.counted(rows_HD).cut(shape, self.nodes) for rows_HD in rows], state.device)

    def observe(self, state: Tensor, draft: Draft, verdict: Verdict, scores: Scores) -> Tensor:
        """The last tokens, with what was committed."""
        return latest(torch.cat([state, verdict.tokens_BC], dim=1), verdict.committed_B + LONGEST, LONGEST)


def _alike(one: Sequence[int], two: Sequence[int]) -> int:
    """How many entries they begin with alike."""
    pairs = enumerate(zip(one, two, strict=False))
    return next((at for at, (mine, theirs) in pairs if mine != theirs), min(len(one), len(two)))


@cache
def opened(folder: str) -> tuple[Datastore, int]:
    """The datastore of a folder, mapped into memory, and its largest id. Raises BadInput where there is none."""
    remedy = f"make one with decant datastore TEXTS --model TARGET --out {folder or 'FOLDER'}"
    if not folder:
        raise BadInput(f"retrieval needs a datastore; {remedy}, and give it as retrieval:store=FOLDER")
    path = Path(folder)
    try:
        facts = json.loads((path / FACTS).read_text())
        tokens, order = (np.load(path / name, mmap_mode="r") for name in (TOKENS, ORDER))
        whole = len(tokens) == len(order) == facts["tokens"]
        largest = int(facts["largest"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{folder} is no datastore ({error}); {remedy}") from None
    if not whole:
        raise BadInput(f"the datastore {folder} was not written to its end; {remedy}")
    return Datastore(tokens, order), largest
