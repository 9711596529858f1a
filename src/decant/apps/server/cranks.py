"""A crank for each composition that somebody asks for; requests with equal settings share one, and its batch."""

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, final

from decant.apps.choosing import Chosen
from decant.apps.server.asking import Asked
from decant.apps.server.bounds import Bounds
from decant.apps.server.composing import Composer
from decant.apps.server.counted import Counted
from decant.apps.server.sample import Piece, Sample
from decant.decoders.continuous import MEGABYTE, Continuous, Request
from decant.decoders.generate import right_pad
from decant.decoders.method import Method
from decant.errors import BadInput
from decant.models.loaded import Loaded
from decant.protocols import AnyDecoder, Cached, Gradual

IDLE_SECONDS: Final = 300.0
IDLE: Final = 16  # cranks that nobody uses, at most
LESSONS: Final = ThreadPoolExecutor(1, "lessons")  # what a draft learns of requests that have left, while others run


@final
class Crank:
    """One composition and the samples that run through it. used: when it last had any."""

    def __init__(self, key: str, method: Method, batch: int, device: Any) -> None:
        self.key, self.method, self.used = key, method, time.monotonic()
        self.turning: Continuous[Any] = Continuous(method.decoder, batch=batch, device=device, pool=LESSONS)
        self.samples: dict[Request, Sample] = {}
        counted = getattr(method.decoder, "verifier", None)
        self._counted = counted if isinstance(counted, Counted) else None

    def renew(self, decoder: AnyDecoder) -> None:
        """Go on with another decoder, while nobody runs; lessons under way are for the old one."""
        old = self.turning
        self.turning = Continuous(decoder, batch=old.batch, device=old.device, pool=LESSONS)

    @property
    def room(self) -> bool:
        """Whether one more can run."""
        return len(self.samples) < self.turning.batch

    def needs(self, requests: Collection[Request]) -> int:
        """Bytes of cache of these requests up to their last tokens."""
        decoder = self.turning.decoder
        return decoder.cache_bytes([one.tokens for one in requests]) if requests and isinstance(decoder, Cached) else 0

    def bytes(self) -> int:
        """Of cache that those that run need."""
        return self.needs(self.samples)

    def add(self, sample: Sample) -> None:
        """In line of those that run."""
        self.samples[sample.request] = sample
        sample.begun = time.perf_counter()
        self.turning.add(sample.request)

    def drop(self, sample: Sample) -> None:
        """Out of the batch; its cache is freed."""
        if self.samples.pop(sample.request, None) is not None:
            self.turning.cancel(sample.request)
            self.used = time.monotonic()

    def ready(self, alone: bool) -> bool:
        """Whether a step keeps the others waiting for one chunk of a prompt at most; reads one where it would not.

        alone: there are no others.
        """
        if alone or self.turning.running or not self.turning.waiting:
            return True
        decoder = self.turning.decoder
        prompt_1T = right_pad([self.turning.waiting[0].prompt], self.turning.device)
        return not isinstance(decoder, Gradual) or decoder.prepare(prompt_1T)

    def step(self) -> list[tuple[Sample, Piece]]:
        """One step of all; what it adds to each."""
        served = self.turning.step()
        proposed = self._counted.last if self._counted is not None and served else [0] * len(served)
        found: list[tuple[Sample, Piece]] = []
        for request, guesses in zip(served, proposed, strict=True):
            sample = self.samples[request]
            found.append((sample, sample.fed(guesses)))
            if request.output.reason is not None:
                del self.samples[request]
        self.used = time.monotonic()
        return found


@final
class Cranks:
    """Those there are."""

    def __init__(self, composer: Composer, bounds: Bounds) -> None:
        self.composer = composer
        self._batch, self._megabytes = held(composer.session.led, bounds.batch), bounds.cache_mb
        self._all: dict[str, Crank] = {}

    def of(self, asked: Asked, chosen: Chosen) -> Crank:
        """The crank of these settings, made where there is none. chosen: what they do to logits. Raises DecantErrors as
        `Composer.method`."""
        key = self.composer.key(asked)
        crank = self._all.pop(key, None)
        if crank is None:
            template = self._latest(self.composer.spec(asked))
            method = self.composer.method(asked, chosen, template)
            crank = Crank(key, method, self._batch, self.composer.session.target.model.network.device)
        self._all[key] = crank  # the last is the latest
        crank.used = time.monotonic()
        return crank

    def busy(self) -> list[Crank]:
        """Those with samples."""
        return [crank for crank in self._all.values() if crank.samples]

    def forget(self, crank: Crank) -> None:
        """Whatever state it and its samples are in."""
        crank.samples.clear()
        self._all.pop(crank.key, None)

    def tidy(self, needed: Collection[Crank]) -> None:
        """Let go of those that were not used for a while, or are too many; the latest stays, for what it learnt.

        needed: those that somebody stands in line for.
        """
        if len(self._all) <= 1:
            return
        idle = [crank for crank in list(self._all.values())[:-1] if not crank.samples and crank not in needed]
        late = time.monotonic() - IDLE_SECONDS
        for at, crank in enumerate(idle):
            if crank.used < late or len(idle) - at > IDLE:
                self.forget(crank)

    def bytes(self) -> int:
        """Of cache that all need."""
        return sum(crank.bytes() for crank in self._all.values())

    def fits(self, crank: Crank, request: Request) -> bool:
        """Whether there is cache for one more."""
        if self._megabytes is None:
            return True
        others = self.bytes() - crank.bytes()
        return (others + crank.needs([*crank.samples, request])) / MEGABYTE <= self._megabytes

    def refuse_large(self, crank: Crank, request: Request) -> None:
        """Raises BadInput for what would not fit even alone."""
        needs, room = crank.needs([request]) / MEGABYTE, self._megabytes
        if room is not None and needs > room:
            raise BadInput(
                f"this call needs {needs:.1f} MB of cache, and the server has {room:g}; ask for fewer tokens, or "
                f"shorten the prompt"
            )

    def __len__(self) -> int:
        return len(self._all)

    def _latest(self, spec: str) -> Method | None:
        """With what its drafter has learnt."""
        for crank in reversed(self._all.values()):
            if crank.method.name == spec:
                return Method(spec, crank.turning.decoder, crank.method.promise)
        return None


def held(target: Loaded, batch: int) -> int:
    """How many requests may run at a time: `batch`, or as many as exact mode holds, also while some leave."""
    rows, network = target.model.rows, target.model.network
    if rows is not None:
        for requests in range(2, batch + 1):
            if not network.holds(rows, requests):
                return requests - 1
    return batch
