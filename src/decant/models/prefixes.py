"""Whole chunks of prompts, computed once: prompts that begin alike share them.

Only whole chunks, which lie at fixed positions, are kept: what a chunk's forward computes then depends on the tokens up
to its end and on nothing else, and a prompt that finds one has the bits of a prompt that does not.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, final

from torch import Tensor

from decant.types import Scores, Taps

MEGABYTE: Final = 2**20

Key = tuple[Taps, bytes]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """rows_L2KSW: keys and values of its slots; tapped: what was read off them, without B."""

    rows_L2KSW: Tensor
    tapped: Scores

    @property
    def size(self) -> int:
        """Bytes."""
        said = (self.tapped.logits_BMV, self.tapped.hidden_BMD, self.tapped.top_BMK)
        return sum(part.numel() * part.element_size() for part in (self.rows_L2KSW, *said) if part is not None)


@final
class Prefixes:
    """At most `megabytes` of chunks; those that were not wanted for longest go first.

    hits, misses: chunks that were found, and that were not.
    """

    def __init__(self, megabytes: float) -> None:
        self.room = int(megabytes * MEGABYTE)
        self.hits = self.misses = 0
        self._used = 0
        self._chunks: OrderedDict[Key, Chunk] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._chunks

    def holds(self, size: int) -> bool:
        """Whether so many bytes of chunks, and half as much read off them, fit in beside one another."""
        return 1.5 * size <= self.room

    def find(self, key: Key) -> Chunk | None:
        """The chunk that ends such a prefix."""
        chunk = self._chunks.get(key)
        if chunk is None:
            self.misses += 1
            return None
        self.hits += 1
        self._chunks.move_to_end(key)
        return chunk

    def keep(self, key: Key, rows_L2KSW: Tensor, tapped: Scores) -> None:
        """Put a chunk in, if there is room for it at all."""
        chunk = Chunk(rows_L2KSW, tapped)
        if chunk.size > self.room or key in self._chunks:
            return
        while self._used + chunk.size > self.room:
            self._used -= self._chunks.popitem(last=False)[1].size
        self._chunks[key] = chunk
        self._used += chunk.size


def prefix_key(tokens_T: Tensor, taps: Taps) -> Key:
    """Equal for equal tokens and taps."""
    return taps, tokens_T.cpu().numpy().tobytes()
