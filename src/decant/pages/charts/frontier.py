"""Quality over speed: a numbered dot a method, and the line of those that none beats in both."""

import math
from collections.abc import Sequence
from itertools import pairwise

from markupsafe import Markup

from decant.pages.charts.drawing import Axis, canvas, percent, tag

HEIGHT = 220

Point = tuple[float, float]
"""(speedup, quality)"""


def unbeaten(points: Sequence[Point]) -> list[int]:
    """Indices of the points to which no other is as good in both and better in one; the slowest first."""
    kept = [
        at
        for at, (speed, quality) in enumerate(points)
        if not any(s >= speed and q >= quality and (s, q) != (speed, quality) for s, q in points)
    ]
    return sorted(kept, key=lambda at: points[at])


def frontier(points: Sequence[Point], label: str) -> Markup:
    """Speed to the right on an axis of ratios, quality upwards; numbers are those of the list beside it, from 1."""
    across = Axis.ratios([speed for speed, _ in points])
    up = _qualities([quality for _, quality in points])
    places = [(percent(across.at(speed)), HEIGHT * (1 - up.at(quality))) for speed, quality in points]
    drawn = [*_grid(across, up), *_stairs([places[at] for at in unbeaten(points)])]
    for number, (x, y) in enumerate(places, 1):
        drawn.append(tag("circle", class_="dot", cx=x, cy=f"{y:.1f}", r=9))
        drawn.append(tag("text", str(number), class_="number", x=x, y=f"{y + 4:.1f}", text_anchor="middle"))
    return canvas(HEIGHT + 20, *drawn, label=label)


def _qualities(values: Sequence[float]) -> Axis:
    """Around all values, with room: quality need not begin at 0."""
    low, high = min(values), max(values)
    room = 0.15 * (high - low) or 0.05 * (abs(high) or 1.0)
    return Axis(low - room, high + room)


def _grid(across: Axis, up: Axis) -> list[Markup]:
    drawn = []
    for tick in up.ticks():
        y = f"{HEIGHT * (1 - up.at(tick)):.1f}"
        drawn.append(tag("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y))
        drawn.append(tag("text", f"{tick:.4g}", class_="tick", x=-8, y=y, dy="0.35em", text_anchor="end"))
    for tick in across.ticks():
        x = percent(across.at(tick))
        drawn.append(tag("line", class_="level" if math.isclose(tick, 1) else "grid", x1=x, x2=x, y1=0, y2=HEIGHT))
        drawn.append(tag("text", f"{tick:g}x", class_="tick", x=x, y=HEIGHT + 16, text_anchor="middle"))
    return drawn


def _stairs(places: Sequence[tuple[str, float]]) -> list[Markup]:
    drawn = []
    for (x, y), (further, lower) in pairwise(places):
        drawn.append(tag("line", class_="stair", x1=x, x2=further, y1=f"{y:.1f}", y2=f"{y:.1f}"))
        drawn.append(tag("line", class_="stair", x1=further, x2=further, y1=f"{y:.1f}", y2=f"{lower:.1f}"))
    return drawn
