"""The thread that owns the model and its tokenizer: it takes calls, lets them in, and turns cranks step by step.

Everybody else talks to it through queues. Calls with equal settings share a batch; others take turns with it. Of a long
prompt at most one chunk is read between two steps of those that run.
"""

import logging
import queue
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, final

import torch

from decant.apps.server.asking import Asked, refuse_many
from decant.apps.server.bounds import Bounds
from decant.apps.server.composing import Composer
from decant.apps.server.cranks import Crank, Cranks
from decant.apps.server.errors import Failure, full, refused
from decant.apps.server.metrics import Metrics
from decant.apps.server.reading import prompts_of
from decant.apps.server.sample import Piece, Sample, samples_of
from decant.apps.server.ticket import Event, Ticket, deliver
from decant.decoders.continuous import MEGABYTE
from decant.errors import BadInput, DecantError
from decant.models.machine import hand_back

NAP: Final = 1.0  # seconds between two looks around of an engine that has nothing to do
TRIM: Final = 30.0  # seconds between two times that freed memory goes back: caches of many sizes leave holes

log = logging.getLogger("decant")


@final
@dataclass(slots=True, eq=False)
class Work:
    """A call that was understood, and those of its samples that have not ended."""

    ticket: Ticket
    crank: Crank
    open: list[Sample]


@final
class Engine:
    """start() it, submit() calls, stop() it.

    open: texts that were asked for and have not ended. draining: no more calls are taken.
    """

    def __init__(self, composer: Composer, bounds: Bounds, metrics: Metrics) -> None:
        self.composer, self.bounds, self.metrics = composer, bounds, metrics
        self.open, self.draining = 0, False
        self._cranks = Cranks(composer, bounds.batch)
        self._line: deque[Sample] = deque()
        self._works: dict[Ticket, Work] = {}
        self._owner: dict[Sample, Work] = {}
        self._inbox: queue.SimpleQueue[tuple[str, Ticket | None]] = queue.SimpleQueue()
        self._out: list[tuple[Ticket, Event]] = []
        self._lock, self._closed, self._spent = threading.Lock(), False, 1.0
        self._thread = threading.Thread(target=self._run, name="decant-engine", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether calls are answered."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def submit(self, asked: Asked) -> Ticket:
        """Put a call in line; where an event loop runs. Raises Failure: 503 while stopping, 429 where the line is full,
        400 for more texts than it ever holds."""
        refuse_many(asked, self.bounds.texts)
        with self._lock:
            if self.draining or not self.alive:
                raise stopping()
            if self.open + asked.count > self.bounds.texts:
                raise full(self._spent)
            self.open += asked.count
        ticket = Ticket(asked)
        self._inbox.put(("ask", ticket))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for the answer any longer; its cache is freed before the next step."""
        ticket.gone = True
        self._inbox.put(("cancel", ticket))

    def drain(self) -> None:
        """Take no more calls."""
        with self._lock:
            self.draining = True

    def fail(self) -> None:
        """End every call with 503, those that run too."""
        self._inbox.put(("fail", None))

    def stop(self) -> None:
        """Fail what is left and end the thread."""
        self.drain()
        self._inbox.put(("stop", None))
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(torch.get_num_threads())  # OpenMP counts them for each thread that asks
        trimmed = time.monotonic()
        with torch.inference_mode():
            while not self._closed:
                try:
                    self._look()
                    if time.monotonic() - trimmed > TRIM:
                        hand_back()
                        trimmed = time.monotonic()
                except Exception as error:  # a fault of the engine's own must not silence it
                    log.exception("the engine stumbled")
                    for crank in self._cranks.busy():
                        self._cranks.forget(crank)
                    self._fail(refused(error))
                self._tell()
        self._fail(stopping())
        self._tell()

    def _look(self) -> None:
        """Once around: what was put in, who may begin, a step of every crank."""
        self._listen()
        self._expire()
        self._admit()
        busy = self._cranks.busy()
        for crank in busy:
            self._turn(crank, len(busy) == 1)
        self._cranks.tidy({work.crank for work in self._works.values()})

    def _listen(self) -> None:
        """Take what was put in; wait for it where there is nothing else to do."""
        idle = not self._works
        try:
            word, ticket = self._inbox.get(block=idle, timeout=NAP if idle else None)
            while True:
                self._obey(word, ticket)
                word, ticket = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _obey(self, word: str, ticket: Ticket | None) -> None:
        if word == "stop":
            self._closed = True
        elif word == "fail":
            self._fail(stopping())
        elif ticket is not None and word == "ask":
            self._take(ticket)
        elif ticket in self._works:
            self._end(self._works[ticket])

    def _take(self, ticket: Ticket) -> None:
        """Understand a call and put its samples in line, or refuse it."""
        asked = ticket.asked
        try:
            if ticket.gone:
                raise Failure(499, "the client has gone")
            target = self.composer.session.target
            prompts = prompts_of(asked, target)
            crank = self._cranks.of(asked)
            samples = samples_of(asked, prompts, target, crank.method, ticket.born)
            for sample in samples:
                self._refuse_large(crank, sample)
        except Exception as error:
            if not isinstance(error, DecantError | Failure):
                log.exception("a call could not be understood")
            self._close(asked.count)
            self._out.append((ticket, refused(error)))
            return
        self.metrics.prompt_tokens.inc(sum(map(len, prompts)))
        self._works[ticket] = work = Work(ticket, crank, list(samples))
        self._owner.update(dict.fromkeys(samples, work))
        self._line.extend(samples)
        self._out.append((ticket, [len(prompt) for prompt in prompts]))

    def _refuse_large(self, crank: Crank, sample: Sample) -> None:
        needs, room = crank.needs([sample.request]) / MEGABYTE, self.bounds.cache_mb
        if room is not None and needs > room:
            raise BadInput(
                f"this call needs {needs:.1f} MB of cache, and the server has {room:g}; ask for fewer tokens, or "
                f"shorten the prompt"
            )

    def _expire(self) -> None:
        """End those whose time is up with what they have said; where that is nothing, with 503."""
        late = time.perf_counter() - self.bounds.timeout
        for work in list(self._works.values()):
            if work.ticket.gone:
                self._end(work)
            elif work.ticket.born < late:
                silent = not any(sample.request.output.tokens for sample in work.open)
                if silent and len(work.open) == work.ticket.asked.count:
                    self._end(work, Failure(503, f"no answer within {self.bounds.timeout:g} s", code="timeout", wait=1))
                    continue
                for sample in list(work.open):
                    work.crank.drop(sample)
                    self._say(sample, sample.cut())

    def _admit(self) -> None:
        """Let in who fits, in the order of calls: one between two steps where others wait for the next. Who would share
        a batch that is full is overtaken by those who do not; who waits for cache is not."""
        running = sum(len(crank.samples) for crank in self._cranks.busy())
        most = 1 if running else self.bounds.batch
        while most and running < self.bounds.batch:
            sample = next((one for one in self._line if self._owner[one].crank.room), None)
            if sample is None or not self._fits(sample):
                break
            self._line.remove(sample)
            self._owner[sample].crank.add(sample)
            running, most = running + 1, most - 1
        self.metrics.running.set(running)
        self.metrics.waiting.set(len(self._line))
        self.metrics.cache_bytes.set(self._cranks.bytes())

    def _fits(self, sample: Sample) -> bool:
        if self.bounds.cache_mb is None:
            return True
        crank = self._owner[sample].crank
        others = self._cranks.bytes() - crank.bytes()
        return (others + crank.needs([*crank.samples, sample.request])) / MEGABYTE <= self.bounds.cache_mb

    def _turn(self, crank: Crank, alone: bool) -> None:
        """One step of one crank. Where it breaks, those in it fail; those in line for it get another."""
        try:
            steps = crank.step() if crank.ready(alone) else []
        except Exception as error:
            if not isinstance(error, DecantError):
                log.exception("a step failed")
            broken = {self._owner[sample] for sample in crank.samples.values()}
            self._cranks.forget(crank)
            for work in broken:
                self._end(work, refused(error))
            for work in self._works.values():
                work.crank = self._cranks.of(work.ticket.asked) if work.crank is crank else work.crank
            return
        for sample, piece in steps:
            self._say(sample, piece)
        self._tell()

    def _say(self, sample: Sample, piece: Piece) -> None:
        work = self._owner[sample]
        if piece.text or piece.tokens or piece.tally is not None:
            self._out.append((work.ticket, piece))
        if piece.tally is None:
            return
        self.metrics.ended(piece.tally)
        self._spent += 0.1 * (piece.tally.last - self._spent)
        self._let_go(work, [sample])

    def _end(self, work: Work, failure: Failure | None = None) -> None:
        """All that is left of a call, at once."""
        self._let_go(work, list(work.open))
        if failure is not None:
            self._out.append((work.ticket, failure))

    def _let_go(self, work: Work, samples: list[Sample]) -> None:
        for sample in samples:
            work.open.remove(sample)
            work.crank.drop(sample)
            self.metrics.tokens.inc(len(sample.request.output.tokens))
            if sample in self._line:
                self._line.remove(sample)
            del self._owner[sample]
        if not work.open:
            del self._works[work.ticket]
        self._close(len(samples))

    def _fail(self, failure: Failure) -> None:
        for work in list(self._works.values()):
            self._end(work, failure)

    def _close(self, count: int) -> None:
        with self._lock:
            self.open -= count

    def _tell(self) -> None:
        out, self._out = self._out, []
        deliver(out)


def stopping() -> Failure:
    """No more calls are taken."""
    return Failure(503, "the server is stopping; ask again later", code="stopping", wait=1)
