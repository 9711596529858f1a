"""A text put into the ids of another tokenizer, and the chunks of it that both write."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from decant.types import PAD
from decant.vocab.spans import Span, spans
from decant.vocab.vocabulary import Vocabulary, control_map


@final
@dataclass(frozen=True, slots=True)
class Crossing:
    """ids: the text in the other tokenizer's.

    spans: chunks of the given ids and of these, in order; together they are both texts. Where both sides hold tokens
    they write the same bytes, or are controls of one meaning; what only one side says has an empty other side.
    """

    ids: list[int]
    spans: list[Span]

    @property
    def chunks(self) -> list[Span]:
        """Those that both sides say."""
        return [span for span in self.spans if span.first < span.stop and span.other_first < span.other_stop]


def translate(ids: Sequence[int], source: Vocabulary, into: Vocabulary) -> list[int]:
    """A whole text, controls included, in the ids of another tokenizer: its bytes encoded again.

    A control becomes the one of the same name, or else of the same role, or nothing. Never empty.
    """
    return cross(ids, source, into).ids or [next(iter(into.roles.values()), 0)]


def cross(ids: Sequence[int], source: Vocabulary, into: Vocabulary, begins: bool = True) -> Crossing:
    """A text and its chunks; `begins`: nothing stands before it, so what a tokenizer puts in front belongs there.

    No chunk reaches over a control, or over an id that writes nothing. O(tokens).
    """
    named = control_map(source, into)
    made = Crossing([], [])
    first = 0
    fronts = (source.front, into.front) if begins else (b"", b"")
    for at, token in enumerate((*ids, PAD)):
        if token != PAD and source.bytes_of([token]):
            continue
        if at > first:  # only the text that begins has something in front
            _run(made, ids[first:at], (source, into), fronts)
            fronts = (b"", b"")
        if token != PAD:
            _add(made, Span(0, 1, 0, int(token in named)), [named[token]] if token in named else [])
        first = at + 1
    if begins and tuple(made.ids[: len(into.opening)]) != into.opening:
        return behind(into.opening, 0, made)
    return made


def behind(front: Sequence[int], given: int, made: Crossing) -> Crossing:
    """A text behind `given` source ids and `front` of the other's, which nobody compares."""
    there = len(front)
    moved = [
        Span(one.first + given, one.stop + given, one.other_first + there, one.other_stop + there) for one in made.spans
    ]
    ends = [Span(0, given, 0, 0), Span(given, given, 0, there)]
    return Crossing([*front, *made.ids], [*(one for one in ends if one != Span(given, given, 0, 0)), *moved])


def _run(
    made: Crossing, ids: Sequence[int], between: tuple[Vocabulary, Vocabulary], fronts: tuple[bytes, bytes]
) -> None:
    """Text between two controls."""
    source, into = between
    written = fronts[1] + source.bytes_of(ids).removeprefix(fronts[0])
    spelt = [token for part in into.spell(_readable(written)) for token in part]
    if into.bytes_of(spelt) != written:  # it cannot be said there
        _add(made, Span(0, len(ids), 0, 0), [])
        _add(made, Span(0, 0, 0, len(spelt)), spelt)
        return
    mine, its = _bare(source, ids, fronts[0]), _bare(into, spelt, fronts[1])
    start, there = _end(made)
    made.ids.extend(spelt)
    made.spans.extend(
        Span(one.first + start, one.stop + start, one.other_first + there, one.other_stop + there)
        for one in spans(mine, its)
    )


def _add(made: Crossing, span: Span, ids: list[int]) -> None:
    """One span behind the others; without tokens it is none."""
    start, there = _end(made)
    made.ids.extend(ids)
    if span.stop or span.other_stop:
        made.spans.append(Span(start, start + span.stop, there, there + span.other_stop))


def _end(made: Crossing) -> tuple[int, int]:
    return (made.spans[-1].stop, made.spans[-1].other_stop) if made.spans else (0, 0)


def _bare(vocabulary: Vocabulary, ids: Sequence[int], front: bytes) -> list[bytes]:
    """What each id writes, without what the tokenizer put in front of the text."""
    pieces = [vocabulary.bytes_of([token]) for token in ids]
    left = len(front) if b"".join(pieces).startswith(front) else 0
    bare = []
    for piece in pieces:
        bare.append(piece[left:])
        left = max(0, left - len(piece))
    return bare


def _readable(text: bytes) -> list[bytes]:
    """Stretches that are UTF-8, and bytes between them that are not: half a character where a text was cut."""
    parts = []
    while text:
        try:
            text.decode()
        except UnicodeDecodeError as error:
            parts += [text[: error.start], text[error.start : error.end]]
            text = text[error.end :]
        else:
            parts.append(text)
            break
    return [part for part in parts if part]
