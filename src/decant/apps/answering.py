"""One answer of a conversation, stopped at any step, and what it took."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import torch

from decant.apps.asked import Asked
from decant.apps.session import Completion, Session
from decant.decoders.continuous import Continuous
from decant.decoders.generate import right_pad
from decant.models.causal import CHUNK
from decant.models.prefixes import Prefixes
from decant.protocols import Gradual


@final
@dataclass(frozen=True, slots=True)
class Turn:
    """One answer and what it took.

    prompt:  tokens of the whole conversation in front of it; read: those that the target had to read for it, the
        others were read for earlier turns.
    ttft:    seconds from the question to the first token, None where none came; seconds: to the last.
    stopped: whether the user ended it.
    """

    question: str
    said: Completion
    method: str
    promise: str | None
    seed: int
    prompt: int
    read: int
    ttft: float | None
    seconds: float
    stopped: bool = False

    def reply(self) -> dict[str, Any]:
        """The member `decant` of a served answer."""
        return {
            "method": self.method,
            "promise": self.promise,
            "acceptance_length": self.said.acceptance_length,
            "target_calls": self.said.steps,
            "tokens": self.said.said,
            "drafted": sum(self.said.drafted),
            "ttft_seconds": self.ttft,
            "tokens_per_second": self.said.said / self.seconds if self.seconds else 0.0,
        }

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "question": self.question,
            "text": self.said.text,
            "reason": "stopped" if self.stopped else self.said.reason,
            "seed": self.seed,
            "prompt_tokens": self.prompt,
            "read_tokens": self.read,
            "seconds": self.seconds,
            "decant": self.reply(),
        }


@final
class Answer:
    """An answer under way: iterate for its text. `turn` is what was said so far, all of it after the last piece.

    stop: end it after the step that runs; what was said until then stays.
    """

    def __init__(self, session: Session, wheel: Continuous[Any], asked: Asked, question: str) -> None:
        self._session, self._wheel, self._asked = session, wheel, asked
        self._prefixes, self._ids = kept(session), asked.request.prompt
        self._missed = self._prefixes.misses if self._prefixes else 0
        self._begin = time.perf_counter()
        self._first: float | None = None
        self._turn = Turn(
            question, asked.completion, session.method.name, session.method.promise, asked.request.seed,
            len(self._ids) - asked.request.places, 0, None, 0.0,
        )  # fmt: skip
        self._halted = False

    def stop(self) -> None:
        """End it after the step that runs."""
        self._halted = True

    def __iter__(self) -> Iterator[str]:
        request = self._asked.request
        for left in [*self._wheel.running, *self._wheel.waiting]:  # somebody broke off an answer
            self._wheel.cancel(left)
        self._wheel.add(request)
        try:
            if self._session.target.masked is None:
                self._read()
            while request.output.reason is None and not self._halted:
                self._wheel.step()
                new = self._asked.fed()
                if self._first is None and request.output.tokens:
                    self._first = time.perf_counter() - self._begin
                yield new
            if request.output.reason is None:
                yield self._asked.ended()
        finally:
            self._wheel.cancel(request)

    @property
    def turn(self) -> Turn:
        """What was said so far."""
        return replace(
            self._turn,
            said=self._asked.completion,
            read=self._turn.prompt - self._found(),
            ttft=self._first,
            seconds=time.perf_counter() - self._begin,
            stopped=self._halted and self._asked.request.output.reason is None,
        )

    @torch.inference_mode()
    def _read(self) -> None:
        """The prompt chunk by chunk, so that somebody who stops it need not wait for its end."""
        decoder, prompt_1T = self._wheel.decoder, as_row(self._ids, self._session)
        while isinstance(decoder, Gradual) and not self._halted and not decoder.prepare(prompt_1T):
            pass

    def _found(self) -> int:
        """Tokens of the prompt in chunks that were there."""
        if self._prefixes is None:
            return 0
        whole = (self._turn.prompt - 1) // CHUNK
        return max(0, whole - (self._prefixes.misses - self._missed)) * CHUNK


def kept(session: Session) -> Prefixes | None:
    """Where the target keeps what it read; None: it reads everything every time."""
    model = session.target.model
    return model.prefixes if model.network.keeps_chunks and session.target.masked is None else None


def as_row(ids: list[int], session: Session) -> torch.Tensor:
    """prompt_1T, where the target is."""
    return right_pad([ids], session.target.model.network.device)
