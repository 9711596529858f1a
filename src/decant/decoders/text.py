"""Tokens to text as it streams: never half a character, never part of a stop string."""

from collections.abc import Callable
from typing import final


@final
class TextStream:
    """Text that is safe to show so far.

    decode:  output ids -> text.
    strings: stop strings; the text ends in front of the first of them.
    """

    def __init__(self, decode: Callable[[list[int]], str], strings: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._strings = strings
        self._shown = 0
        self.text = ""

    def feed(self, tokens: list[int], *, done: bool = False) -> str:
        """What may be shown beyond what was shown before; `tokens` are all output ids so far.

        done: nothing follows, so nothing is held back any longer.
        """
        text = self._decode(tokens)
        stops = [at for at in (text.find(string) for string in self._strings) if at >= 0]
        if stops:
            text = text[: min(stops)]
        elif not done:
            text = text.rstrip("\ufffd")  # the first bytes of a character whose others are still to come
            text = text[: len(text) - self._held_back(text)]
        new = text[self._shown :]
        self._shown = max(self._shown, len(text))
        self.text += new
        return new

    def _held_back(self, text: str) -> int:
        """Length of the longest end of `text` that begins a stop string."""
        longest = max((len(string) - 1 for string in self._strings), default=0)
        ends = (n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in self._strings))
        return next(ends, 0)
