"""Repeats that alternate, and what they are reduced to: shared by `bench` and by the files in benchmarks/."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import TypedDict


class Spread(TypedDict):
    """Median, smallest and largest of the repeats."""

    median: float
    low: float
    high: float


def spread(values: list[float]) -> Spread:
    """Of at least one value."""
    return Spread(median=round(median(values), 5), low=round(min(values), 5), high=round(max(values), 5))


def alternate(runs: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, list[float]]:
    """What each run returns, `repeat` times each: A B C A B C, so that drift of the machine hits all alike.

    One round before the first is thrown away: it pays for page faults and kernel choices.
    """
    for run in runs.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeat):
        for name, run in runs.items():
            found[name].append(run())
    return found


def ratios(values: list[float], baseline: list[float]) -> Spread:
    """Each value over the baseline's of the same repeat."""
    return spread([value / plain for value, plain in zip(values, baseline, strict=True)])
