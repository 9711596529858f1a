"""Methods on one batch of prompts after another, timed for a race; what was timed once is not timed again."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final

from decant.decoders.generate import Turn, stream
from decant.decoders.method import Method
from decant.decoders.workload import Group, Workload, warmed
from decant.errors import DecantError
from decant.noise import Noise
from decant.protocols import AnyDecoder
from decant.tune.plan import Objective
from decant.tune.race import Sample

WARM_UP: Final = 4  # tokens

Kept = dict[str, list[dict[str, Any]]]
"""By method, what was timed in each turn, JSON-ready."""


@final
@dataclass(slots=True)
class Lanes:
    """Methods that race. A drafter that learns begins anew with every round of all groups.

    objective: "latency" scores a request's seconds a token up to its own end, the mean over the batch; "throughput" the
        batch's seconds over all its tokens. Prefill counts in both.
    kept:      what earlier runs timed; it grows. keep: called behind each turn of a method.
    """

    methods: Mapping[str, Method]
    workload: Workload
    objective: Objective
    kept: Kept
    keep: Callable[[], None]
    told: Callable[[str, int], None] = lambda name, turn: None
    groups: list[Group] = field(default_factory=list)
    decoders: dict[str, AnyDecoder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.groups = self.workload.groups()
        random.Random(0).shuffle(self.groups)  # a file may hold its prompts sorted by kind

    def refused(self) -> dict[str, str]:
        """Decode a little with each method, unclocked: those that cannot, and why."""
        found = {}
        for name, method in self.methods.items():
            if self.kept.get(name):
                continue
            try:
                self.workload.groups(WARM_UP)[0].decode(method.decoder)
            except DecantError as error:
                found[name] = str(error)
        return found

    def measure(self, name: str, turn: int) -> Sample:
        """A `race.Measure`."""
        known = self.kept.setdefault(name, [])
        assert turn <= len(known), "who left a race does not come back"
        if turn == len(known):
            self.told(name, turn)
            known.append(self._timed(name, turn))
            self.keep()
        return Sample(known[turn][self.objective], known[turn]["seconds"])

    def _timed(self, name: str, turn: int) -> dict[str, Any]:
        if turn % len(self.groups) == 0 or name not in self.decoders:
            self.decoders[name] = self.methods[name].decoder
        group = self.groups[turn % len(self.groups)]
        begin = time.perf_counter()
        ended: dict[int, float] = {}
        soonest: float | None = None
        last: Turn | None = None
        noise = Noise.of(group.seeds, group.prompt_BT.device)
        for last in stream(self.decoders[name], group.prompt_BT, noise, group.stopping):
            now = time.perf_counter() - begin
            soonest = now if soonest is None else soonest
            for request, output in enumerate(last.outputs):
                if output.reason is not None:
                    ended.setdefault(request, now)
        assert last is not None, "a stream has a turn"
        seconds = time.perf_counter() - begin
        self.decoders[name] = warmed(self.decoders[name], last.state)
        outputs = [output.tokens for output in last.outputs]
        each = [ended[request] / len(tokens) for request, tokens in enumerate(outputs)]
        return {
            "seconds": seconds,
            "latency": sum(each) / len(each),
            "throughput": seconds / sum(map(len, outputs)),
            "tokens": sum(map(len, outputs)),
            "soonest": soonest,
            "first": group.first,
            "outputs": outputs if turn < len(self.groups) else [],
        }
