"""Where two spellings of one text have boundaries in common: the finest cut that both agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import final

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Span:
    """Tokens [first, stop) of one spelling and [other_first, other_stop) of the other, which write the same bytes."""

    first: int
    stop: int
    other_first: int
    other_stop: int


def spans(one: Sequence[bytes], other: Sequence[bytes]) -> list[Span]:
    """The shortest stretches of two spellings that write the same bytes, in order; together they are both spellings.

    Every boundary in common ends a span, so none can be cut further. A token that writes nothing (a control, given as
    empty bytes) belongs to the span in front of it, or to the first. O(tokens). Raises BadInput for different texts.
    """
    if b"".join(one) != b"".join(other):
        raise BadInput(
            f"two spellings can be aligned where they write the same text; one writes {_shown(one)}, "
            f"the other {_shown(other)}"
        )
    behind, other_behind = _last_index(one), _last_index(other)
    shared = sorted(behind.keys() & other_behind.keys() - {0})
    if not shared:
        return [Span(0, len(one), 0, len(other))] if one or other else []
    ends = [(behind[at], other_behind[at]) for at in shared]
    starts = [(0, 0), *ends[:-1]]
    return [Span(first, stop, there, end) for (first, there), (stop, end) in zip(starts, ends, strict=True)]


def _last_index(pieces: Sequence[bytes]) -> dict[int, int]:
    """Byte offset -> how many tokens lie in front of it, those that write nothing there included."""
    return {at: count for count, at in enumerate(accumulate(map(len, pieces), initial=0))}


def _shown(pieces: Sequence[bytes], most: int = 40) -> str:
    text = b"".join(pieces)
    return repr(text if len(text) <= most else text[:most] + b"...")
