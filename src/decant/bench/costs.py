"""What one pass of a model costs: a curve over the number of new tokens for each batch and context.

ms              of one call of `score`, over the root and what is drafted behind it: a row a new token.
relative        to the pass over one token of the same repeat; where it stays near 1, verifying a draft is free.
floor_ms        what must be read (the weights, and the cache of the context) over the read bandwidth of this run.
floor_fraction  the floor over the median: 1.0 is perfect; above it, the weights stayed in the processor's cache.

In exact mode a pass is what exact mode makes of it: filled up, or cut in blocks.
"""

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.bench.ledger import Ledger
from decant.bench.timing import alternate, ratios, spread
from decant.errors import BadInput, IncompatibleParts
from decant.models.context import Context
from decant.models.loaded import Loaded
from decant.models.machine import machine
from decant.models.traffic import read_bandwidth_gb_s
from decant.types import Draft

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

TOKENS: Final = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)


@final
@dataclass(frozen=True, slots=True)
class Grid:
    """Which passes are measured: every batch behind every context, each over these numbers of new tokens.

    contexts: tokens of a request in front of what is drafted, the root included.
    tokens:   ascending from 1, which the others are compared with.
    repeat:   passes of each kind, in turns; the median counts.

    Raises BadInput for what is empty or below 1.
    """

    contexts: Sequence[int] = (256, 1024)
    batches: Sequence[int] = (1, 4)
    tokens: Sequence[int] = TOKENS
    repeat: int = 5

    def __post_init__(self) -> None:
        if not self.contexts or not self.batches or min(*self.contexts, *self.batches, self.repeat) < 1:
            raise BadInput(
                f"contexts, batches and repeat are 1 or more, got {self.contexts}, {self.batches} and {self.repeat}"
            )
        if list(self.tokens) != sorted({1, *self.tokens}) or self.tokens[0] < 1:
            raise BadInput(f"numbers of new tokens ascend from 1, got {self.tokens}")

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        lists = {name: list(getattr(self, name)) for name in ("contexts", "batches", "tokens")}
        return {**lists, "repeat": self.repeat}


@final
@dataclass(frozen=True, slots=True)
class Curve:
    """The milliseconds of one batch and context: by new tokens, then by repeat. cached: bytes read of the cache."""

    batch: int
    context: int
    cached: int
    ms: Mapping[int, list[float]]

    def facts(self, floor_ms: float) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "batch": self.batch,
            "context": self.context,
            "floor_ms": round(floor_ms, 5),
            "points": [
                {
                    "tokens": count,
                    "ms": (found := spread(values)),
                    "relative": round(ratios(values, self.ms[1])["median"], 4),
                    "floor_fraction": round(floor_ms / found["median"], 4),
                }
                for count, values in self.ms.items()
            ],
        }


@final
@dataclass(slots=True)
class Record:
    """What a run has found so far; `report` may be asked at any time.

    skipped: what was left out, with reasons. bandwidths: GB/s, taken in front of the first curve and behind each.
    """

    target: Loaded
    grid: Grid
    machine: dict[str, object]
    weights: int
    cached_token: int = 0
    curves: list[Curve] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    bandwidths: list[float] = field(default_factory=list)

    def report(self) -> dict[str, Any]:
        """JSON-ready. The best bandwidth counts: a busy moment must not lower the floor."""
        model, best = self.target.facts(), max(self.bandwidths)
        return {
            "machine": self.machine,
            "model": model,
            "settings": {**self.grid.facts(), "exact": model["exact"], "exact_rows": model["exact_rows"]},
            "bandwidth_gb_s": round(best, 2),
            "bytes": {"weights": self.weights, "cached_token": self.cached_token},
            "curves": [curve.facts((self.weights + curve.cached) / best / 1e6) for curve in self.curves],
            "skipped": self.skipped,
        }


def run(
    target: Loaded,
    grid: Grid = Grid(),
    *,
    progress: Progress = lambda done, total, text: None,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Measure; the report is JSON-ready.

    partial: gets the report so far behind every curve, for runs that are interrupted.

    New tokens that the model's context cannot hold, and batches that exact mode cannot, are in `skipped`, with reasons.
    """
    pairs = [(batch, context) for batch in dict.fromkeys(grid.batches) for context in dict.fromkeys(grid.contexts)]
    passes = len(grid.tokens) * (grid.repeat + 1) + 1  # of a curve: the prefill, a warm-up, the repeats
    total, device = len(pairs) * passes, target.model.network.device
    record = Record(target, grid, machine(), target.model.network.weight_bytes())
    record.bandwidths.append(read_bandwidth_gb_s(device))
    for number, (batch, context) in enumerate(pairs):
        tell = _teller(progress, number * passes, total, f"batch {batch}, context {context}")
        if tokens := _fitting(record, batch, context):
            _measure(record, batch, context, tokens, tell)
        if record.curves:
            record.bandwidths.append(read_bandwidth_gb_s(device))
            partial(record.report())
    progress(total, total, "done")
    return record.report()


def _teller(progress: Progress, first: int, total: int, where: str) -> Callable[[str], None]:
    """Counts what it is told from `first` on."""
    done = itertools.count(first)
    return lambda what: progress(next(done), total, f"{where}: {what}")


def _fitting(record: Record, batch: int, context: int) -> list[int]:
    """Numbers of new tokens that the model's context holds; the others are skipped."""
    holds = record.target.model.context
    left_out = [count for count in record.grid.tokens if context - 1 + count > holds]  # the first row is the root's
    if left_out:
        said = f"the model's context holds {holds} tokens"
        record.skipped.append({"batch": batch, "context": context, "tokens": left_out, "reason": said})
    return [count for count in record.grid.tokens if count not in left_out]


@torch.inference_mode()
def _measure(record: Record, batch: int, context: int, tokens: list[int], tell: Callable[[str], None]) -> None:
    """Add a curve, or the reason why there is none."""
    target, ids_BT = record.target, _ids(record.target, batch, context + tokens[-1] - 1)
    clock = Ledger(ids_BT.device)
    tell("prefill")
    try:
        state, _ = target.model.start(ids_BT[:, :context])
    except IncompatibleParts as error:
        record.skipped.append({"batch": batch, "context": context, "tokens": tokens, "reason": str(error)})
        return

    def milliseconds(count: int) -> float:
        tell(f"{count} new {'token' if count == 1 else 'tokens'}")
        return _pass_ms(target, state, Draft(ids_BT[:, context : context + count - 1]), clock)

    ms = alternate({str(count): functools.partial(milliseconds, count) for count in tokens}, record.grid.repeat)
    record.cached_token = target.model.network.token_bytes()
    cached = batch * context * record.cached_token
    record.curves.append(Curve(batch, context, cached, {count: ms[str(count)] for count in tokens}))


def _pass_ms(target: Loaded, state: Context, draft: Draft, clock: Ledger) -> float:
    state.memory[0] = None  # rows that were scored before would not be computed again
    begin = clock.now()
    target.model.score(state, draft)
    return 1e3 * (clock.now() - begin)


def _ids(target: Loaded, batch: int, count: int) -> Tensor:
    """Any ids do, as long as they are always the same: ids_BT."""
    rng = torch.Generator().manual_seed(0)
    return torch.randint(target.model.vocab, (batch, count), generator=rng).to(target.model.network.device)
