"""What a pass costs by its number of new tokens, over what it must read at least."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from decant.pages.charts.drawing import Axis, canvas, percent, tag

HEIGHT = 150


def curve(points: Sequence[Mapping[str, Any]], floor: float, highest: float, label: str) -> Markup:
    """Milliseconds upwards from 0 to `highest`, new tokens to the right, twice as many always equally far.

    points: {"tokens", "ms": {"median", "low", "high"}}; floor: milliseconds.
    """
    up, across = Axis.amounts([highest]), Axis(1.0, max(2.0, *(point["tokens"] for point in points)), ratio=True)

    def y(ms: float) -> str:
        return f"{HEIGHT * (1 - up.at(ms)):.1f}"

    drawn = []
    for tick in up.ticks():
        drawn.append(tag("line", class_="grid", x1="0%", x2="100%", y1=y(tick), y2=y(tick)))
        drawn.append(tag("text", f"{tick:g}", class_="tick", x=-8, y=y(tick), dy="0.35em", text_anchor="end"))
    for count in _doublings(int(across.high)):
        x = percent(across.at(count))
        drawn.append(tag("text", str(count), class_="tick", x=x, y=HEIGHT + 16, text_anchor="middle"))
    drawn.append(tag("line", class_="floor", x1="0%", x2="100%", y1=y(floor), y2=y(floor)))
    places = [(percent(across.at(point["tokens"])), point["ms"]) for point in points]
    drawn += [
        tag("line", class_="stroke", x1=x, x2=further, y1=y(ms["median"]), y2=y(later["median"]))
        for (x, ms), (further, later) in pairwise(places)
    ]
    for x, ms in places:
        drawn.append(tag("line", class_="whisker", x1=x, x2=x, y1=y(ms["low"]), y2=y(ms["high"])))
        drawn.append(tag("circle", class_="dot", cx=x, cy=y(ms["median"]), r=3.5))
    return canvas(HEIGHT + 20, *drawn, label=label)


def _doublings(most: int) -> list[int]:
    """1, 4, 16 ... up to `most`."""
    return [4**power for power in range(most.bit_length()) if 4**power <= most]
