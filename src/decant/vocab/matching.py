"""llguidance's matchers, and a model's tokens as they know them: what each writes, how a text is spelt, which end one.

Source: Moskal et al. 2024, github.com/guidance-ai/llguidance.
"""

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, Final, final

from decant.errors import BadInput, MissingExtra
from decant.vocab.vocabulary import Vocabulary

SPECIAL: Final = b"\xff"  # llguidance's mark of a token that no text writes; no UTF-8 holds this byte
NOTHING: Final = "NoExtensionBias"  # llguidance's word for a place where no token may follow
KEPT: Final = 4096  # spellings: the same texts are forced again and again, on every node and as guesses


@final
@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """Made once for a model, for all its grammars; a second for a vocabulary of 150,000.

    vocabulary: what the ids write. ends: ids that end a text. vocab: logits in a row.
    known:      llguidance's tokenizer.
    Raises MissingExtra without llguidance, BadInput for a model without end tokens.
    """

    vocabulary: Vocabulary
    ends: frozenset[int]
    vocab: int
    known: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.ends:
            raise BadInput("this model names no token that ends a text; put eos_token_id into generation_config.json")
        wrapped = library().TokenizerWrapper(_Asked(self.vocabulary, self.ends, self.vocab))
        object.__setattr__(self, "known", library().LLTokenizer(wrapped, eos_token=sorted(self.ends)))

    def spells(self, text: bytes) -> bool:
        """Whether there are ids that write it."""
        return self.vocabulary.bytes_of(_spelt(self.vocabulary, text)) == text


@final
class Reader:
    """llguidance's matcher, which goes back and ahead to whatever is asked for: requests and nodes can share it.

    A token of way costs about a microsecond; a copy costs half of one for every token that was read.
    """

    def __init__(self, blank: Any, matcher: Any, said: tuple[int, ...] = ()) -> None:
        self._blank, self._matcher, self._said = blank, matcher, said

    def behind(self, said: tuple[int, ...]) -> Any | None:
        """The matcher when it has read these tokens; None where it refuses one."""
        if said is self._said:
            return self._matcher
        known = len(self._said)
        if said[:known] != self._said:
            known = next(
                (at for at, (old, new) in enumerate(zip(self._said, said, strict=False)) if old != new), len(said)
            )
        if known < len(self._said) and not self._matcher.rollback(len(self._said) - known):
            known, self._matcher = 0, self._blank.deep_copy()  # a dead end is an error, which never leaves a matcher
        read = self._matcher.try_consume_tokens(list(said[known:])) if known < len(said) else 0
        self._said = said if known + read == len(said) else said[: known + read]
        return self._matcher if self._said is said else None

    @property
    def fault(self) -> str | None:
        """Why the matcher goes on no more, where that is its own limits; None: it does, or no token fits."""
        error = str(self._matcher.get_error()) if self._matcher.is_error() else NOTHING
        return None if error.startswith(NOTHING) else error

    def copy(self) -> "Reader":
        """Another, at the same place."""
        return Reader(self._blank, self._matcher.deep_copy(), self._said)


@final
class _Asked:
    """What llguidance asks of a tokenizer, under its names."""

    def __init__(self, vocabulary: Vocabulary, ends: frozenset[int], vocab: int) -> None:
        pieces = [*vocabulary.pieces, *[None] * vocab][:vocab]
        self.tokens = [_known(piece, vocabulary.names.get(token)) for token, piece in enumerate(pieces)]
        self.special_token_ids = [token for token in vocabulary.names if token < vocab]
        self.eos_token_id, self.bos_token_id = min(ends), None

        @lru_cache(maxsize=KEPT)
        def spelt(text: bytes) -> tuple[int, ...]:
            return tuple(_spelt(vocabulary, text))

        self._spelt = spelt

    def __call__(self, text: bytes) -> list[int]:
        return list(self._spelt(text))


def demanded(pattern: str, text: str) -> bool:
    """Whether every text that a regular expression matches as a whole holds `text`; False where llguidance gives up.

    A millisecond: those that do not hold it are another regular expression, and llguidance says whether it is empty.
    """
    without = "".join(f"\\x{{{ord(letter):x}}}" for letter in text)
    every = f"start: TEXT\nTEXT: /{_unslashed(pattern)}/"
    return _empty(f"{every} & ~/(?s:.*){without}(?s:.*)/") and not _empty(every)


def library() -> Any:
    """llguidance itself. Raises MissingExtra where it is not installed."""
    try:
        import llguidance.numpy  # pyright: ignore[reportMissingImports]  (an extra)
    except ImportError as error:
        raise MissingExtra("llguidance is not installed: pip install 'decant[grammar]'") from error
    return llguidance


@cache
def _bytes() -> Tokens:
    """One token a byte, and an end."""
    return Tokens(Vocabulary([bytes([byte]) for byte in range(255)], {"<end>": 255}), frozenset({255}), 256)


def _empty(lark: str) -> bool:
    """Whether llguidance is sure that no text follows from a grammar of one terminal."""
    matcher = library().LLMatcher(_bytes().known, library().LLMatcher.grammar_from_lark(lark), log_level=0)
    if matcher.is_error() or matcher.is_accepting():
        return False
    matcher.compute_bitmask()
    return matcher.is_error() and matcher.get_error().startswith(NOTHING)


def _unslashed(pattern: str) -> str:
    """As it stands between slashes."""
    return re.sub(r"\\.|/", lambda found: "\\/" if found[0] == "/" else found[0], pattern)


def _known(piece: bytes | None, name: str | None) -> bytes:
    """A token's bytes; empty where no text may ever use it."""
    if name is not None:
        return SPECIAL + name.encode()
    return b"" if piece is None or piece.startswith(SPECIAL) else piece


def _spelt(vocabulary: Vocabulary, text: bytes) -> list[int]:
    """The ids of a text that continues another; of one that cannot be spelt, those of its beginning."""
    [ids] = vocabulary.spell([text])
    if vocabulary.bytes_of(ids) == text:
        return ids
    known: list[int] = []
    for token in vocabulary.fitted(text):  # which leaves out what it cannot spell
        if not text.startswith(vocabulary.bytes_of([*known, token])):
            break
        known.append(token)
    return known
