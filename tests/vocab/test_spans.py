import random
from itertools import pairwise

import pytest

from decant.errors import BadInput
from decant.vocab.spans import Span, spans


def cut(text: bytes, rng: random.Random) -> list[bytes]:
    """The text in pieces of random length, now and then one that writes nothing."""
    ends = sorted(rng.sample(range(len(text) + 1), rng.randint(0, len(text))) + rng.choices(range(len(text) + 1), k=1))
    return [text[a:b] for a, b in pairwise([0, *ends, len(text)])]


def brute_force(one: list[bytes], other: list[bytes]) -> list[Span]:
    """Of all ways to cut both into stretches that write the same, not nothing, the one with the most stretches."""
    best: dict[tuple[int, int], list[Span]] = {(0, 0): []}
    for stop in range(len(one) + 1):
        for end in range(len(other) + 1):
            ways = [
                [*found, Span(first, stop, start, end)]
                for (first, start), found in best.items()
                if first <= stop and start <= end
                if b"".join(one[first:stop]) == b"".join(other[start:end]) != b""
            ]
            if ways:
                best[stop, end] = max(ways, key=len)
    whole = [way for (stop, end), way in best.items() if (stop, end) == (len(one), len(other))]
    return whole[0]


def test_as_many_spans_as_can_be() -> None:
    rng = random.Random(0)
    for _ in range(300):
        text = bytes(rng.choices(b"ab", k=rng.randint(1, 6)))
        one, other = cut(text, rng), cut(text, rng)
        found = spans(one, other)
        assert len(found) == len(brute_force(one, other)), (one, other)
        for span in found:
            assert b"".join(one[span.first : span.stop]) == b"".join(other[span.other_first : span.other_stop]) != b""


def test_spans_lie_end_to_end_and_leave_nothing_out() -> None:
    rng = random.Random(1)
    for _ in range(100):
        text = bytes(rng.choices(b"xyz", k=rng.randint(1, 12)))
        one, other = cut(text, rng), cut(text, rng)
        found = spans(one, other)
        assert (found[0].first, found[0].other_first) == (0, 0)
        assert (found[-1].stop, found[-1].other_stop) == (len(one), len(other))
        for before, after in pairwise(found):
            assert (before.stop, before.other_stop) == (after.first, after.other_first)


def test_half_a_character_is_no_boundary_in_common() -> None:
    assert spans([b"na\xc3", b"\xafve"], ["naï".encode(), b"ve"]) == [Span(0, 2, 0, 2)]


def test_a_token_that_writes_nothing_belongs_to_what_stands_before_it() -> None:
    assert spans([b"", b"a", b"", b"b"], [b"a", b"b"]) == [Span(0, 3, 0, 1), Span(3, 4, 1, 2)]
    assert spans([b""], [b"", b""]) == [Span(0, 1, 0, 2)]
    assert spans([], []) == []


def test_different_texts_are_refused() -> None:
    with pytest.raises(BadInput, match=r"one writes b'ab', the other b'a'"):
        spans([b"a", b"b"], [b"a"])
