"""Seconds of a training step, from the end of one to the end of the next."""

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from decant.distill.settings import Settings
from decant.distill.trainer import run


class Watched:
    """A training that remembers when its steps ended, and how much weight each of them read."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.ends, self.tokens = inner, [], []

    def batches(self, state: Any, step: int, share: Any) -> tuple[list[Any], Any]:
        pieces, state = self.inner.batches(state, step, share)
        self.tokens.append(int(sum(float(self.inner.weight(piece)) for piece in pieces)))
        return pieces, state

    def observe(self, state: Any, step: int, nats: float) -> Any:
        self.ends.append(time.perf_counter())
        return self.inner.observe(state, step, nats)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def stepping(steps: int, peak: float = 1e-6) -> Settings:
    """So many steps to be timed behind one that is not, with nothing written among them."""
    last = steps + 1
    return Settings(last, peak, warmup=0, weight_decay=0.0, save_every=last, report_every=last, quiet=True)


def seconds_a_step(composition: Any, settings: Settings) -> tuple[float, list[int]]:
    """The median, and the tokens learnt from in each step."""
    watched = Watched(composition)
    with tempfile.TemporaryDirectory() as folder:
        run(composition.learner, watched, settings, Path(folder))
    return between(watched.ends), watched.tokens


def between(ends: list[float]) -> float:
    """The median of the seconds between steps."""
    return median(end - begin for begin, end in pairwise(ends))
