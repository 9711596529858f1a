"""Student's interval for a mean: what paired log ratios are worth.

Source: Student 1908, Biometrika 6(1), 1-25; the sums are 26.7.3 and 26.7.4 of Abramowitz and Stegun 1964.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, stdev
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the bounds that hold it at some level of confidence; infinite where one value is all there is."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """From the mean to a bound."""
        return self.high - self.mean

    def ratio(self) -> dict[str, float | None]:
        """Of log ratios: the ratio itself, as `median`, `low` and `high`; None for a bound that is not known."""
        parts = {"median": self.mean, "low": self.low, "high": self.high}
        return {name: round(math.exp(value), 4) if math.isfinite(value) else None for name, value in parts.items()}


def interval(values: Sequence[float], level: float = 0.95) -> Interval:
    """Of at least one value; they count as independent, and their mean as normal."""
    mean = fmean(values)
    if len(values) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = quantile(level, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


@lru_cache(maxsize=1024)
def quantile(level: float, freedom: int) -> float:
    """t with P(|T| < t) == level, for so many degrees of freedom."""
    low, high = 0.0, 1.0
    while within(high, freedom) < level:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if within(middle, freedom) < level else (low, middle)
    return high


def within(t: float, freedom: int) -> float:
    """P(|T| < t), t >= 0."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine if odd else 1.0), 0.0
    for at in range(1 + odd, freedom, 2):
        total += term
        term *= cosine**2 * at / (at + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
