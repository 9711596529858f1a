"""One text as it is decoded for a client: what may be shown of it, and what is told of its tokens."""

import time
from dataclasses import dataclass, field
from typing import final

from decant.apps.infilling import Laid
from decant.apps.server.asking import Asked
from decant.decoders.continuous import Request
from decant.decoders.method import Method, Promise
from decant.decoders.saying import Logprob
from decant.decoders.stopping import Reason, Stopping
from decant.decoders.text import TextStream
from decant.models.load import Loaded
from decant.noise import sample_seed

BROKEN = "\ufffd"  # the first bytes of a character whose others are still to come


@final
@dataclass(frozen=True, slots=True)
class Token:
    """One output token.

    text:   what it adds to the text; empty where a character is not whole yet.
    offset: characters of the text in front of it.
    """

    id: int
    text: str
    offset: int
    drafted: bool
    logprob: Logprob | None = None


@final
@dataclass(frozen=True, slots=True)
class Tally:
    """How a text came about.

    reason:   as a completion's. timed_out: its time was up.
    tokens:   output tokens, an end token included. steps: target calls that it took part in.
    drafted:  tokens that had been guessed. proposed: guesses, the refused ones included.
    first:    seconds from the call to the first token; None: there is none. last: to the end.
    begun:    seconds from the call until it was its turn.
    """

    reason: Reason
    tokens: int
    steps: int
    drafted: int
    proposed: int
    method: str
    promise: Promise | None
    first: float | None
    last: float
    begun: float
    timed_out: bool = False


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """What a step adds to text `index`. tally: of its last piece."""

    index: int
    text: str
    tokens: tuple[Token, ...] = ()
    tally: Tally | None = None


@final
@dataclass(slots=True, eq=False)
class Sample:
    """A text in the making.

    born:  when the call came, in seconds of `time.perf_counter`; begun and first likewise, None until then.
    ends:  characters of the text up to the end of each token.
    told:  tokens that were told.
    """

    index: int
    request: Request
    text: TextStream
    method: str
    promise: Promise | None
    detailed: bool
    born: float
    begun: float | None = None
    first: float | None = None
    steps: int = 0
    proposed: int = 0
    ends: list[int] = field(default_factory=list)
    told: int = 0

    def fed(self, proposed: int) -> Piece:
        """What a step that it took part in adds. proposed: guesses of that step."""
        output, now = self.request.output, time.perf_counter()
        self.steps, self.proposed = self.steps + 1, self.proposed + proposed
        if self.first is None and output.tokens:
            self.first = now
        done = output.reason is not None
        new = self.text.feed(output.tokens, done=done)
        tokens = self._tokens(done) if self.detailed else ()
        return Piece(self.index, new, tokens, self._tally(output.reason, now) if output.reason is not None else None)

    def cut(self) -> Piece:
        """The end, before it would have ended."""
        self.request.output.reason = "length"
        new = self.text.feed(self.request.output.tokens, done=True)
        tokens = self._tokens(True) if self.detailed else ()
        return Piece(self.index, new, tokens, self._tally("length", time.perf_counter(), timed_out=True))

    def _tally(self, reason: Reason, now: float, timed_out: bool = False) -> Tally:
        output = self.request.output
        return Tally(
            reason, len(output.tokens), self.steps, sum(output.drafted), self.proposed, self.method, self.promise,
            None if self.first is None else self.first - self.born, now - self.born,
            (now if self.begun is None else self.begun) - self.born, timed_out,
        )  # fmt: skip

    def _tokens(self, done: bool) -> tuple[Token, ...]:
        """Those whose text is shown, none twice; at the end all, but for what ended the text."""
        output, shown = self.request.output, len(self.text.text)
        decode = self.request.stopping.decode
        assert decode is not None, "samples_of"
        for count in range(len(self.ends) + 1, len(output.tokens) + 1):
            whole = len(decode(output.tokens[:count]).rstrip(BROKEN))
            self.ends.append(max(whole, self.ends[-1] if self.ends else 0))
        stop = len(output.tokens) if done else self.told
        while not done and stop < len(self.ends) and self.ends[stop] <= shown:
            stop += 1
        while done and output.reason == "stop" and stop > self.told and self._begin(stop - 1) >= shown:
            stop -= 1
        begin, self.told = self.told, stop
        return tuple(self._token(at, shown if done and at == stop - 1 else None) for at in range(begin, stop))

    def _token(self, at: int, end: int | None) -> Token:
        output = self.request.output
        begin = self._begin(at)
        text = self.text.text[begin : self.ends[at] if end is None else end]
        thought = output.logprobs[at] if at < len(output.logprobs) else None
        return Token(output.tokens[at], text, begin, output.drafted[at], thought)

    def _begin(self, at: int) -> int:
        return min(self.ends[at - 1] if at else 0, len(self.text.text))


def samples_of(asked: Asked, prompts: list[list[int]], target: Loaded, method: Method, born: float) -> list[Sample]:
    """One for each prompt and sample, laid out as `session.Run` does it. born: when they were asked for."""
    found: list[Sample] = []
    for prompt in prompts:
        laid = Laid.of(prompt, target, asked.limits.max_tokens)
        for number in range(asked.n):
            stopping = Stopping(laid.room, target.ends, asked.limits.stop, laid.decode, laid.ends_from)
            request = Request(
                laid.prompt, sample_seed(asked.seed, number), stopping, places=laid.room if laid.canvas else 0
            )
            text = TextStream(laid.decode, asked.limits.stop)
            found.append(Sample(len(found), request, text, method.name, method.promise, asked.detailed, born))
    return found
