"""Elements of SVG, and axes that say where along them a value lies."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from markupsafe import Markup, escape

STEPS: Final = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
ROUND: Final = (1.0, 2.0, 5.0)
TICKS: Final = 6  # at most: more do not fit a phone
ROOM: Final = 1.06  # an axis of ratios goes on a little behind its last value


def tag(name: str, *inside: str, **attributes: object) -> Markup:
    """An element. Text inside is escaped unless it is Markup; `class_` is class, and an underscore a hyphen."""
    said = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), said, Markup("").join(map(escape, inside)))


def canvas(height: int | str, *inside: str, label: str | None = None) -> Markup:
    """A chart as wide as its place. height: pixels, or of its place.

    label: what it shows, for who does not see it; None where the words beside it say all.
    """
    if label is None:
        return tag("svg", *inside, class_="chart", width="100%", height=height, aria_hidden="true")
    return tag("svg", *inside, class_="chart", width="100%", height=height, role="img", aria_label=label)


def percent(share: float) -> str:
    """A length along x."""
    return f"{100 * share:.2f}%"


@final
@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, both ends included; of ratios if `ratio`: twice as much is always equally far."""

    low: float
    high: float
    ratio: bool = False

    @classmethod
    def ratios(cls, values: Sequence[float]) -> "Axis":
        """Around all values above 0, and around 1, what they are compared with."""
        real = [value for value in values if math.isfinite(value) and value > 0]
        return cls(min([0.9, *real]) / ROOM, max([1.25, *real]) * ROOM, ratio=True)

    @classmethod
    def amounts(cls, values: Sequence[float]) -> "Axis":
        """From 0 to the first round number that is no less than any value."""
        most = max([value for value in values if math.isfinite(value)], default=0.0)
        if most <= 0:
            return cls(0.0, 1.0)
        step = _round_step(most / 4)
        return cls(0.0, step * math.ceil(most / step - 1e-9))

    def at(self, value: float) -> float:
        """The share of the axis's length where `value` lies; what lies outside is at the end that is nearer."""
        value = min(max(value, self.low), self.high)
        if self.ratio:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round numbers on the axis, few enough to be read."""
        if not self.ratio:
            step = _round_step((self.high - self.low) / 4)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [step * number for number in range(first, last + 1)]
        found: list[float] = []
        for steps in (STEPS, ROUND, (1.0,)):
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            every = (step * 10.0**decade for decade in decades for step in steps)
            found = [value for value in every if self.low <= value <= self.high]
            if len(found) <= TICKS:
                break
        return found


def _round_step(step: float) -> float:
    """The round number that is no less than `step`."""
    decade = 10.0 ** math.floor(math.log10(step))
    return next(one * decade for one in (1.0, 2.0, 2.5, 5.0, 10.0) if one * decade >= step * (1 - 1e-9))
