"""Texts with gaps that a model fills in: `def f(x):[MASK:32]return y`, and how each request is laid out.

Every piece of text is spelt on its own and never becomes a special token. A gap may need less than its places: end
tokens in it mean that nothing more comes here, and are left out of the text, which goes on where something given stands
behind them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

from decant.apps import prompts
from decant.apps.prompts import Prompt
from decant.decoders.method import Method
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded
from decant.models.spelling import vocabulary
from decant.unmaskers.end_of_text import EndOfText
from decant.vocab.vocabulary import Vocabulary

GAP: Final = re.compile(r"\[MASK:([^\]]*)\]")
PLACES: Final = re.compile(r"[1-9][0-9]{0,8}")


@final
@dataclass(frozen=True, slots=True)
class Infill:
    """A text whose gaps are filled in, each written `[MASK:n]`: n places for tokens.

    where: what to call it in an error. Raises BadInput for a text without gaps, and for a gap of fewer than one place.
    """

    template: str
    where: str = "the template"

    def __post_init__(self) -> None:
        counts = GAP.findall(self.template)
        if not counts:
            raise BadInput(f"{self.where} has no gap to fill in; write [MASK:n], n places, where the model shall write")
        for count in counts:
            if not PLACES.fullmatch(count):
                raise BadInput(f"{self.where}: [MASK:{count}] has no number of places; write [MASK:n], n 1 or more")

    @property
    def texts(self) -> list[str]:
        """What stands in front of the first gap, between gaps, and behind the last; any of it may be empty."""
        return GAP.split(self.template)[::2]

    @property
    def gaps(self) -> list[int]:
        """Places of each gap."""
        return [int(count) for count in GAP.findall(self.template)]


def encode(asked: Sequence[Prompt | Infill], target: Loaded) -> list[list[int]]:
    """Ids of each request, a mask for each place of a gap. Raises as `prompts.encode`, IncompatibleParts for a template
    and a model that speaks from left to right, BadInput for one that does not fit the context."""
    words = _words(target) if any(isinstance(one, Infill) for one in asked) else Vocabulary([])
    return [
        _spelt(one, target, words) if isinstance(one, Infill) else prompts.encode([one], target)[0] for one in asked
    ]


def _words(target: Loaded) -> Vocabulary:
    if target.masked is None:
        raise IncompatibleParts(
            f"{target.name} speaks from left to right and cannot fill in gaps; take a model that fills in masks, such "
            f"as house:diffusion, or leave infill out"
        )
    if target.tokenizer is None:
        raise BadInput(f"{target.name} has no tokenizer files; put tokenizer.json beside the weights")
    return vocabulary(target.tokenizer)


def _spelt(asked: Infill, target: Loaded, words: Vocabulary) -> list[int]:
    assert target.masked is not None, "_words"
    assert words.encode is not None, "a tokenizer's vocabulary spells"
    (first, *behind), gaps, mask = asked.texts, asked.gaps, target.masked.mask
    front = target.encode(first) if first else list(words.opening)
    pieces = words.encode([text.encode(errors="replace") for text in behind])
    given, places, context = len(front) + sum(map(len, pieces)), sum(gaps), target.model.context
    if given + places > context:
        raise BadInput(
            f"{asked.where} has {given:,} tokens and {places:,} places to fill in, but the context of {target.name} "
            f"holds {context:,}; open fewer places, or shorten the text"
        )
    prompts.refuse_mask([*front, *(token for piece in pieces for token in piece)], asked.where, target)
    return front + [token for gap, piece in zip(gaps, pieces, strict=True) for token in [*[mask] * gap, *piece]]


@final
@dataclass(frozen=True, slots=True)
class Laid:
    """A request as it is decoded.

    prompt: ids; of a canvas with its places. room: output tokens at most; of a template the places from its first gap
        on. decode: output ids -> text, of a template the whole one.
    canvas: whether places settle in any order. template: whether the prompt has gaps of its own.
    given:  output positions that are no gaps; where the last of them is, a text cannot end before it.
    """

    prompt: list[int]
    room: int
    decode: Callable[[list[int]], str]
    canvas: bool = False
    template: bool = False
    given: frozenset[int] = frozenset()

    @classmethod
    def of(cls, prompt: list[int], target: Loaded, max_tokens: int) -> "Laid":
        """A prompt with `max_tokens` behind it, as far as the context goes; or with the gaps that it has."""
        masked = target.masked
        if masked is None or masked.mask not in prompt:
            room = min(max_tokens, target.model.context - len(prompt))
            return cls(target.opened(prompt, room), room, target.after(prompt), masked is not None)
        front = target.given(prompt)
        canvas = prompt[len(front) :]
        given = frozenset(at for at, token in enumerate(canvas) if token != masked.mask)
        return cls(prompt, len(canvas), lambda ids: target.decode(front + ids), True, True, given)

    @property
    def ends_from(self) -> int:
        """The first output position with nothing given at it or behind."""
        return max(self.given, default=-1) + 1

    def filled(self, tokens: Sequence[int], ends: frozenset[int]) -> int | None:
        """Of output ids, how many a model put into the gaps of a template; of end tokens the first of a gap counts."""
        if not self.template:
            return None
        count, ended = 0, False
        for at, token in enumerate(tokens):
            if at in self.given:
                ended = False
                continue
            count += not (ended and token in ends)
            ended = ended or token in ends
        return count


def refuse_cuts(laid: Sequence[Laid], stop: Sequence[str], method: Method) -> None:
    """What would lose the end of a template. Raises BadInput for stop strings, IncompatibleParts for a method that
    drops what lies behind an end token."""
    if stop and any(one.template for one in laid):
        raise BadInput(f"stop {stop[0]!r} would cut a template, of which the whole text is given back; leave it out")
    if isinstance(getattr(method.decoder, "unmasker", None), EndOfText) and any(one.given for one in laid):
        raise IncompatibleParts(
            f"{method.name} drops what lies behind an end token, and in a template text stands there; take "
            f"low-confidence or threshold"
        )
