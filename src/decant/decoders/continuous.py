"""Continuous batching: requests join a running batch and leave it at any step.

Source: Yu et al. 2022, "Orca", OSDI; prefill in chunks between steps: Agrawal et al. 2023, arXiv:2308.16369.
"""

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, final

import torch

from decant.decoders.blamed import AtFault, marks_of
from decant.decoders.generate import Output, right_pad
from decant.decoders.lessons import Lessons
from decant.decoders.saying import rows_of
from decant.decoders.stopping import Stopping
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Cached, Decoder, Gradual, Learner
from decant.types import join_rows, select_rows

S = TypeVar("S")  # the decoder's state

MEGABYTE = 2**20


@final
@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt and how it is decoded. `output` grows in place; its reason says that it has ended.

    seed: of its noise; what a request says depends on no other. places: ids at the prompt's end where the output will
        stand, of a canvas.
    """

    prompt: list[int]
    seed: int
    stopping: Stopping
    output: Output = field(default_factory=lambda: Output([], []))
    places: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and output, at most."""
        return len(self.prompt) - self.places + self.stopping.max_tokens


@final
class Fallen(Exception):
    """errors: of each request that is at fault its own error. They have left; the others stand as before the step."""

    def __init__(self, errors: Mapping[Request, Exception]) -> None:
        super().__init__("; ".join(map(str, errors.values())))
        self.errors = errors


@final
class Continuous(Generic[S]):
    """At most `batch` requests at a time over one decoder; the others wait, first come, first served.

    megabytes: of cache that running requests may need up to their last token, so that none is ever put out; None: no
        limit. What a decoder does not count (`protocols.Cached`) is not bounded.
    running, waiting: as they stand.
    taught: the state of the requests that left last, of a decoder that learns (`protocols.Learner`): requests that
        start from then on start with what those taught it. pool: of one thread, for lessons that take long; then they
        start with what has been learnt by then (`lessons.py`).

    Between two steps at most one request joins, and of a long prompt at most one chunk is read: those that run wait no
    longer than that (a decoder that does not read in chunks reads the whole prompt).
    """

    def __init__(
        self,
        decoder: Decoder[S],
        *,
        batch: int,
        megabytes: float | None = None,
        device: str | torch.device = "cpu",
        pool: Executor | None = None,
    ) -> None:
        if batch < 1:
            raise BadInput(f"batch is 1 or more, got {batch}")
        self.decoder, self.batch, self.megabytes, self.device = decoder, batch, megabytes, device
        self.running: list[Request] = []
        self.waiting: deque[Request] = deque()
        self.taught: Any = None
        self._lessons = Lessons(pool)
        self._state: Any = None
        self._marks: dict[Request, frozenset[int]] = {}

    def add(self, request: Request) -> None:
        """Put a request in line. Raises BadInput where it would not fit the cache even alone."""
        needs = self._megabytes([request])
        if self.megabytes is not None and needs > self.megabytes:
            raise BadInput(
                f"a request of {len(request.prompt)} prompt tokens and up to {request.stopping.max_tokens} new ones "
                f"needs {needs:.1f} MB of cache, and there are {self.megabytes:g}; raise the budget or ask for fewer"
            )
        self.waiting.append(request)

    def cancel(self, request: Request) -> None:
        """Take a request out, wherever it stands; what it has said stays in its output."""
        if request in self.waiting:
            self.waiting.remove(request)
        elif request in self.running:
            self._keep([other for other in self.running if other is not request])

    @torch.inference_mode()
    def step(self) -> list[Request]:
        """One step of all that run, after those that can have joined; returns the requests that took part.

        Raises Fallen where a constraint that is `blamed.Blamed` raised for some of them.
        """
        self._admit()
        if not self.running:
            return []
        try:
            self._state, step = self.decoder.step(self._state)
        except AtFault as fault:  # an old state is a point of return, whatever part of the step was taken
            raise self._parted(fault) from fault
        served = self.running
        for request, said in zip(served, rows_of(step), strict=True):
            request.output.extend(*said, request.stopping)
        self._keep([request for request in served if request.output.reason is None])
        return served

    def _admit(self) -> None:
        """Start what fits: as many as there is room for where nobody waits for the next step, else one."""
        idle = not self.running
        self.decoder = self._lessons.latest(self.decoder)
        while self.waiting and len(self.running) < self.batch and self._fits(self.waiting[0]):
            prompt_1T = right_pad([self.waiting[0].prompt], self.device)
            if not idle and isinstance(self.decoder, Gradual) and not self.decoder.prepare(prompt_1T):
                return
            request = self.waiting.popleft()
            try:
                state = self.decoder.start(prompt_1T, Noise.of([request.seed], self.device))
            except AtFault as fault:
                raise Fallen({request: next(iter(fault.errors.values()))}) from fault
            self._marks[request] = marks_of(state)
            self._state = join_rows(self._state, state) if self.running else state
            self.running = [*self.running, request]
            if not idle:
                return

    def _fits(self, request: Request) -> bool:
        return self.megabytes is None or self._megabytes([*self.running, request]) <= self.megabytes

    def _megabytes(self, requests: list[Request]) -> float:
        if not isinstance(self.decoder, Cached):
            return 0.0
        return self.decoder.cache_bytes([request.tokens for request in requests]) / MEGABYTE

    def _parted(self, fault: AtFault) -> Fallen:
        """Those at fault leave. Raises the fault itself where the decoder's state hides whose it is."""
        errors = {
            request: error
            for request in self.running
            for mark, error in fault.errors.items()
            if mark in self._marks[request]
        }
        if not errors:
            raise fault
        self._keep([request for request in self.running if request not in errors])
        return Fallen(errors)

    def _keep(self, requests: list[Request]) -> None:
        """Let the others go; what they taught stays."""
        if len(requests) == len(self.running):
            return
        rows = [row for row, request in enumerate(self.running) if request in requests]
        if isinstance(self.decoder, Learner):
            gone = [row for row in range(len(self.running)) if row not in rows]
            self.taught = select_rows(self._state, torch.tensor(gone, device=self.device))
            self.decoder = self._lessons.after(self.decoder, self.taught)
        self._state = select_rows(self._state, torch.tensor(rows, device=self.device)) if rows else None
        self.running = requests
        self._marks = {request: self._marks[request] for request in requests}


def answers(crank: Continuous[Any], requests: list[Request]) -> list[int]:
    """Run requests to their ends; of each, the steps that it took part in."""
    steps = {id(request): 0 for request in requests}
    for request in requests:
        crank.add(request)
    while crank.running or crank.waiting:
        for request in crank.step():
            steps[id(request)] += 1
    return [steps[id(request)] for request in requests]
