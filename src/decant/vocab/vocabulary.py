"""What a tokenizer's ids mean, as plain values: tokenizers themselves are known to `models/spelling.py` alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import final

Encode = Callable[[Sequence[bytes]], list[list[int]]]
"""Texts, as they continue another text -> the ids that the tokenizer spells each with."""


@final
@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The tokens of one tokenizer.

    pieces:   what each id writes; None for controls and for ids that no text uses.
    controls: the special tokens: name -> id.
    roles:    what some of them are for: "bos", "eos" ... -> id.
    encode:   None takes the longest piece that fits, again and again.
    front:    bytes that the tokenizer puts in front of every text: a space for most of SentencePiece's.
    opening:  ids that it puts in front of every prompt.
    """

    pieces: Sequence[bytes | None]
    controls: Mapping[str, int] = field(default_factory=dict)
    roles: Mapping[str, int] = field(default_factory=dict)
    encode: Encode | None = field(default=None, repr=False)
    front: bytes = b""
    opening: tuple[int, ...] = ()

    @cached_property
    def unique(self) -> dict[bytes, int]:
        """bytes -> id, where one id alone writes them."""
        found: dict[bytes, int] = {}
        twice: set[bytes] = set()
        for token, piece in enumerate(self.pieces):
            if piece:
                twice |= {piece} & found.keys()
                found[piece] = token
        return {piece: token for piece, token in found.items() if piece not in twice}

    @cached_property
    def names(self) -> dict[int, str]:
        """id -> name of a control."""
        return {token: name for name, token in self.controls.items()}

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        """bytes -> the first id that writes them."""
        return {piece: token for token, piece in reversed(list(enumerate(self.pieces))) if piece}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._ids), default=0)

    def bytes_of(self, ids: Sequence[int]) -> bytes:
        """What ids write; controls, and ids behind the vocabulary, write nothing."""
        return b"".join(self.pieces[token] or b"" for token in ids if token < len(self.pieces))

    def byte_ends(self, ids: Sequence[int]) -> list[int]:
        """How many bytes are written when each id has been."""
        return list(accumulate(len(self.bytes_of([token])) for token in ids))

    def spell(self, texts: Sequence[bytes]) -> list[list[int]]:
        """The ids of texts that continue another: nothing is put in front."""
        return [self.fitted(text) for text in texts] if self.encode is None else self.encode(texts)

    def fitted(self, text: bytes) -> list[int]:
        """The longest piece that fits, again and again; a byte that no piece begins with is left out."""
        ids: list[int] = []
        at = 0
        while at < len(text):
            for length in range(min(self._longest, len(text) - at), 0, -1):
                token = self._ids.get(text[at : at + length])
                if token is not None:
                    ids.append(token)
                    break
            else:
                length = 1
            at += length
        return ids


def control_map(source: Vocabulary, into: Vocabulary) -> dict[int, int]:
    """Controls of the same name; of the rest, those of the same role. Nothing is mapped to twice."""
    found = {token: into.controls[name] for name, token in source.controls.items() if name in into.controls}
    for role, token in source.roles.items():
        if token not in found and into.roles.get(role) not in {None, *found.values()}:
            found[token] = into.roles[role]
    return found
