"""When a request ends: at an end token, at a number of tokens, at a stop string."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

Reason = Literal["stop", "length"]


@final
@dataclass(frozen=True, slots=True)
class Stopping:
    """Ends of a request.

    max_tokens: how many tokens at most.
    ends:       ids that end the text; the id itself is kept as the last token.
    strings:    texts that end the text; needs `decode`.
    decode:     output ids -> text.
    ends_from:  output position in front of which an end token ends nothing: something that was given stands behind.
    """

    max_tokens: int
    ends: frozenset[int] = frozenset()
    strings: tuple[str, ...] = ()
    decode: Callable[[list[int]], str] | None = None
    ends_from: int = 0

    def cut(self, tokens: list[int], seen: int = 0) -> tuple[list[int], Reason | None]:
        """The tokens up to the first end, and why they end there (None: not yet).

        seen: how many of them earlier calls found harmless. A stop string keeps every token that holds a part of it:
        the text, not the tokens, is cut in front of it (`text.TextStream`).
        """
        for count in range(seen + 1, min(len(tokens), self.max_tokens) + 1):
            ended = tokens[count - 1] in self.ends and count > self.ends_from
            if ended or (self.strings and self._says_stop(tokens[:count])):
                return tokens[:count], "stop"
        if len(tokens) >= self.max_tokens:
            return tokens[: self.max_tokens], "length"
        return tokens, None

    def _says_stop(self, tokens: list[int]) -> bool:
        assert self.decode is not None, "stop strings need decode"
        text = self.decode(tokens)
        return any(string in text for string in self.strings)
