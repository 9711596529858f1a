"""Answers in the shapes of the OpenAI API: whole, and in chunks.

Source: https://platform.openai.com/docs/api-reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, final

from decant.apps.server.asking import Asked
from decant.apps.server.sample import Piece, Tally, Token
from decant.apps.server.spelling import Spelling

NEVER: Final = -9999.0  # JSON knows no infinite number; the OpenAI API's own word for one

Kind = Literal["chat", "completions"]
OBJECTS: Final = {
    ("chat", False): "chat.completion",
    ("chat", True): "chat.completion.chunk",
    ("completions", False): "text_completion",
    ("completions", True): "text_completion",
}
NAMES: Final = {"chat": "chatcmpl-", "completions": "cmpl-"}


@final
@dataclass(frozen=True, slots=True)
class Form:
    """How one call is answered.

    id: of the answer. created: seconds since 1970. model: as the client named it. build: which model and method it was.
    usage: whether a stream ends with the usage. echoed: of each prompt, what stands in front of its answers.
    """

    kind: Kind
    asked: Asked
    spelling: Spelling
    id: str
    created: int
    model: str
    build: str
    usage: bool = False
    echoed: tuple[str, ...] = ()

    def head(self, choices: list[dict[str, Any]], chunk: bool) -> dict[str, Any]:
        """What every answer has."""
        found = {"id": self.id, "object": OBJECTS[self.kind, chunk], "created": self.created, "model": self.model}
        return found | {"system_fingerprint": self.build, "choices": choices}

    def opening(self, index: int) -> dict[str, Any] | None:
        """The first chunk of a text; None: there is none."""
        if self.kind == "chat":
            said = {"role": "assistant", "content": "", "refusal": None}
            choice = {"index": index, "delta": said, "logprobs": None, "finish_reason": None}
        elif self.echoed:
            choice = {"index": index, "text": self._echo(index), "logprobs": None, "finish_reason": None}
        else:
            return None
        return self._chunk([choice])

    def chunk(self, piece: Piece) -> dict[str, Any]:
        """A piece of a text, its last one with statistics."""
        said = {"content": piece.text} if piece.text or piece.tally is None else {}
        found = self._chunk([self._choice(piece, "delta", said, piece.text)])
        return found if piece.tally is None else found | {"decant": self.statistics([piece.tally])}

    def last(self, prompts: Sequence[int], tallies: Sequence[Tally]) -> dict[str, Any] | None:
        """The chunk behind all others; None: nobody asked for it."""
        return self.head([], True) | {"usage": usage(prompts, tallies)} if self.usage else None

    def whole(self, pieces: Sequence[Piece], prompts: Sequence[int]) -> dict[str, Any]:
        """All texts, each as one piece."""
        tallies = [piece.tally for piece in pieces if piece.tally is not None]
        choices = [
            self._choice(
                piece, "message", {"role": "assistant", "content": piece.text, "refusal": None},
                self._echo(piece.index) + piece.text,
            )
            for piece in pieces
        ]  # fmt: skip
        return self.head(choices, False) | {"usage": usage(prompts, tallies), "decant": self.statistics(tallies)}

    def statistics(self, tallies: Sequence[Tally]) -> dict[str, Any]:
        """How the texts came about; of several the sums, the earliest first token, and all tokens over all the time."""
        first = min((one.first for one in tallies if one.first is not None), default=None)
        tokens, steps = sum(one.tokens for one in tallies), sum(one.steps for one in tallies)
        spent = max(one.last for one in tallies) - min(one.begun for one in tallies)
        return {
            "method": tallies[0].method,
            "promise": tallies[0].promise,
            "seed": self.asked.seed,
            "acceptance_length": tokens / steps if steps else 0.0,
            "target_calls": steps,
            "tokens": tokens,
            "drafted": sum(one.drafted for one in tallies),
            "proposed": sum(one.proposed for one in tallies),
            "ttft_seconds": first,
            "tokens_per_second": tokens / spent if spent > 0 else 0.0,
            "timed_out": any(one.timed_out for one in tallies),
        }

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return self.head(choices, True) | ({"usage": None} if self.usage else {})

    def _choice(self, piece: Piece, part: str, said: dict[str, Any], text: str) -> dict[str, Any]:
        """part: what a chat calls what was said; text: what a completion calls it."""
        reason = None if piece.tally is None else piece.tally.reason
        chat = self.kind == "chat"
        found: dict[str, Any] = {"index": piece.index} | ({part: said} if chat else {"text": text})
        told = self.asked.logprobs is not None and bool(piece.tokens)
        logprobs = (self._chat_logprobs if chat else self._logprobs)(piece.tokens) if told else None
        found |= {"logprobs": logprobs, "finish_reason": reason}
        if self.asked.tokens:
            found["decant"] = {"tokens": [{"text": one.text, "drafted": one.drafted} for one in piece.tokens]}
        return found

    def _echo(self, index: int) -> str:
        return self.echoed[index // self.asked.n] if self.echoed else ""

    def _chat_logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        return {"content": [self._entry(one.id, _logp(one)) | self._top(one) for one in tokens], "refusal": None}

    def _top(self, token: Token) -> dict[str, Any]:
        return {"top_logprobs": [self._entry(one, logp) for one, logp in self._likeliest(token)]}

    def _entry(self, token: int, logp: float) -> dict[str, Any]:
        spelt = self.spelling.bytes(token)
        return {"token": self.spelling.text(token), "logprob": logp, "bytes": None if spelt is None else list(spelt)}

    def _logprobs(self, tokens: Sequence[Token]) -> dict[str, Any]:
        tops: list[dict[str, float]] = [{} for _ in tokens]
        for one, top in zip(tokens, tops, strict=True):
            for token, logp in (*self._likeliest(one), (one.id, _logp(one))):
                top.setdefault(self.spelling.text(token), logp)  # of two of one name the likelier
        return {
            "tokens": [self.spelling.text(one.id) for one in tokens],
            "token_logprobs": [_logp(one) for one in tokens],
            "top_logprobs": tops,
            "text_offset": [one.offset for one in tokens],
        }

    def _likeliest(self, token: Token) -> Sequence[tuple[int, float]]:
        return () if token.logprob is None else token.logprob.top[: self.asked.logprobs]


def usage(prompts: Sequence[int], tallies: Sequence[Tally]) -> dict[str, Any]:
    """Tokens; each prompt counts once, however many samples it has."""
    said, read = sum(one.tokens for one in tallies), sum(prompts)
    drafted, proposed = sum(one.drafted for one in tallies), sum(one.proposed for one in tallies)
    return {
        "prompt_tokens": read,
        "completion_tokens": said,
        "total_tokens": read + said,
        "completion_tokens_details": {
            "accepted_prediction_tokens": drafted,
            "rejected_prediction_tokens": max(0, proposed - drafted),
        },
    }


def joined(pieces: Sequence[Piece]) -> Piece:
    """The pieces of one text as one."""
    tokens = tuple(token for piece in pieces for token in piece.tokens)
    return Piece(pieces[0].index, "".join(piece.text for piece in pieces), tokens, pieces[-1].tally)


def _logp(token: Token) -> float:
    known = token.logprob is not None and math.isfinite(token.logprob.logp)
    return token.logprob.logp if known and token.logprob is not None else NEVER
