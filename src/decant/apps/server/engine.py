"""The thread that owns the model: it takes calls that were read, lets them in, and turns cranks step by step.

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
from decant.apps.server.errors import Failure, full, gone, late, refused, stopping
from decant.apps.server.metrics import Metrics
from decant.apps.server.reading import Reading, Understood
from decant.apps.server.sample import Piece, Sample, samples_of
from decant.apps.server.ticket import Event, Ticket, deliver
from decant.apps.server.upkeep import Upkeep
from decant.decoders.continuous import Fallen
from decant.errors import DecantError

NAP: Final = 1.0  # seconds between two looks around of an engine that has nothing to do

log = logging.getLogger("decant")


@final
@dataclass(slots=True, eq=False)
class Work:
    """A call that was understood, and those of its samples that have not ended."""

    ticket: Ticket
    understood: Understood
    crank: Crank
    open: list[Sample]


@final
class Engine:
    """start() it, submit() calls, stop() it.

    open: texts that were asked for and have not ended, or whose call is still being read. draining: no more calls are
        taken.
    """

    def __init__(self, composer: Composer, bounds: Bounds, metrics: Metrics) -> None:
        self.composer, self.bounds, self.metrics = composer, bounds, metrics
        self.open, self.draining = 0, False
        self._cranks = Cranks(composer, bounds)
        self._line: deque[Sample] = deque()
        self._works: dict[Ticket, Work] = {}
        self._owner: dict[Sample, Work] = {}
        self._reading, self._upkeep = Reading(composer.session.target), Upkeep(composer.session)
        self._unread: dict[Ticket, bool] = {}
        self._inbox: queue.SimpleQueue[tuple[str, Ticket | None, Understood | Failure | None]] = queue.SimpleQueue()
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
        self._inbox.put(("ask", ticket, None))
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Nobody waits for the answer any longer; its cache is freed before the next step."""
        ticket.gone = True
        self._inbox.put(("cancel", ticket, None))

    def drain(self) -> None:
        """Take no more calls."""
        with self._lock:
            self.draining = True

    def fail(self) -> None:
        """End every call with 503, those that run too."""
        self._inbox.put(("fail", None, None))

    def stop(self) -> None:
        """Fail what is left and end the thread."""
        self.drain()
        self._inbox.put(("stop", None, None))
        if self.alive:
            self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(torch.get_num_threads())  # OpenMP counts them for each thread that asks
        with torch.inference_mode():
            while not self._closed:
                try:
                    self._look()
                    self._upkeep.look()
                except Exception as error:  # a fault of the engine's own must not silence it
                    log.exception("the engine stumbled")
                    for crank in self._cranks.busy():
                        self._cranks.forget(crank)
                    self._fail(refused(error))
                self._tell()
        self._reading.stop()
        self._fail(stopping())
        self._tell()
        self._upkeep.close()

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
            said = self._inbox.get(block=idle, timeout=NAP if idle else None)
            while True:
                self._obey(*said)
                said = self._inbox.get_nowait()
        except queue.Empty:
            return

    def _obey(self, word: str, ticket: Ticket | None, read: Understood | Failure | None) -> None:
        if word == "stop":
            self._closed = True
        elif word == "fail":
            self._fail(stopping())
        elif ticket is not None and word == "ask":
            self._unread[ticket] = False
            self._reading.put(ticket.asked, lambda: ticket.gone, lambda found: self._inbox.put(("read", ticket, found)))
        elif read is not None:
            if ticket in self._unread:
                self._take(ticket, read, self._unread.pop(ticket))
        elif ticket in self._works:
            self._end(self._works[ticket])

    def _take(self, ticket: Ticket, read: Understood | Failure, answered: bool) -> None:
        """Put the samples of a call in line, or refuse it. answered: nobody waits for it any longer."""
        asked = ticket.asked
        if answered:
            return self._close(asked.count)
        try:
            if isinstance(read, Failure):
                raise read
            target = self.composer.session.target
            crank = self._cranks.of(asked, read.chosen)
            samples = samples_of(asked, read.prompts, target, crank.method, ticket.born)
            for sample in samples:
                self._cranks.refuse_large(crank, sample.request)
        except Exception as error:
            if not isinstance(error, DecantError | Failure):
                log.exception("a call could not be understood")
            self._close(asked.count)
            self._out.append((ticket, refused(error)))
            return None
        self.metrics.prompt_tokens.inc(sum(map(len, read.prompts)))
        self._works[ticket] = work = Work(ticket, read, crank, list(samples))
        self._owner.update(dict.fromkeys(samples, work))
        self._line.extend(samples)
        self._out.append((ticket, [len(prompt) for prompt in read.prompts]))
        return None

    def _expire(self) -> None:
        """End those whose time is up with what they have said; where that is nothing, with 503."""
        begin = time.perf_counter() - self.bounds.timeout
        for ticket, answered in self._unread.items():
            if not answered and (ticket.gone or ticket.born < begin):
                self._unread[ticket] = True
                self._out.append((ticket, gone() if ticket.gone else late(self.bounds.timeout)))
        for work in list(self._works.values()):
            if work.ticket.gone:
                self._end(work)
            elif work.ticket.born < begin:
                silent = not any(sample.request.output.tokens for sample in work.open)
                if silent and len(work.open) == work.ticket.asked.count:
                    self._end(work, late(self.bounds.timeout))
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
            if sample is None or not self._cranks.fits(self._owner[sample].crank, sample.request):
                break
            self._line.remove(sample)
            self._upkeep.brief(self._owner[sample].crank)
            self._owner[sample].crank.add(sample)
            running, most = running + 1, most - 1
        self.metrics.running.set(running)
        self.metrics.waiting.set(len(self._line))
        self.metrics.cache_bytes.set(self._cranks.bytes())

    def _turn(self, crank: Crank, alone: bool) -> None:
        """One step of one crank. Who is at fault fails alone. Where it breaks, all in it do; others get another."""
        try:
            steps = crank.step() if crank.ready(alone) else []
        except Fallen as fallen:
            for request, error in fallen.errors.items():
                if request in crank.samples:  # of a call whose other texts were at fault too, it is out already
                    self._end(self._owner[crank.samples[request]], _logged(error))
            steps = []
        except Exception as error:
            broken = {self._owner[sample] for sample in crank.samples.values()}
            self._cranks.forget(crank)
            for work in broken:
                self._end(work, _logged(error))
            for work in self._works.values():
                if work.crank is crank:
                    work.crank = self._cranks.of(work.ticket.asked, work.understood.chosen)
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
        self._upkeep.hear(work.crank)
        if not work.open:
            del self._works[work.ticket]
        self._close(len(samples))

    def _fail(self, failure: Failure) -> None:
        for ticket, answered in self._unread.items():
            self._out += [] if answered else [(ticket, failure)]
            self._close(ticket.asked.count)
        self._unread.clear()
        for work in list(self._works.values()):
            self._end(work, failure)

    def _close(self, count: int) -> None:
        with self._lock:
            self.open -= count

    def _tell(self) -> None:
        out, self._out = self._out, []
        deliver(out)


def _logged(error: Exception) -> Failure:
    """What went wrong in a step, as the client is told."""
    if not isinstance(error, DecantError):
        log.error("a step failed", exc_info=error)
    return refused(error)
