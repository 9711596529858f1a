"""Dots with whiskers on an axis of ratios: a row each, and the scale under them."""

from collections.abc import Mapping

from markupsafe import Markup

from decant.pages.charts.drawing import Axis, canvas, percent, tag

MIDDLE = -11  # of a row's marks, pixels from its lower edge
SCALE = 18


def interval(axis: Axis, spread: Mapping[str, float | None] | None, predicted: float | None = None) -> Markup:
    """A row as tall as its place: a whisker from low to high, a dot at the median; a diamond where it was predicted.

    A bound that is not known counts as the median. Marks lie at the lower edge, the lines of the scale
    behind all of the row.
    """
    marks: list[Markup] = []
    if spread is not None:
        low, median, high = (percent(axis.at(value)) for value in bounds(spread))
        marks += [
            tag("line", class_="whisker", x1=low, x2=high, y1=MIDDLE, y2=MIDDLE),
            *(tag("line", class_="whisker", x1=end, x2=end, y1=MIDDLE - 4, y2=MIDDLE + 4) for end in (low, high)),
            tag("circle", class_="dot", cx=median, cy=MIDDLE, r=5),
        ]
    if predicted is not None:
        diamond = tag("path", class_="diamond", d="M0 -6 6 0 0 6 -6 0Z")
        marks.append(tag("svg", diamond, x=percent(axis.at(predicted)), y=MIDDLE, overflow="visible"))
    lines = [_line(axis, tick, "grid") for tick in axis.ticks() if tick != 1.0]
    return canvas("100%", *lines, _line(axis, 1.0, "level"), tag("svg", *marks, y="100%", overflow="visible"))


def bounds(spread: Mapping[str, float | None]) -> tuple[float, float, float]:
    """Low, median and high."""
    median = spread["median"] or 0.0
    low, high = (median if spread[end] is None else float(spread[end] or 0.0) for end in ("low", "high"))
    return low, median, high


def scale(axis: Axis) -> Markup:
    """What the rows above it are drawn on."""
    words = [
        tag("text", f"{tick:g}x", class_="tick", x=percent(axis.at(tick)), y=SCALE - 5, text_anchor="middle")
        for tick in sorted({*axis.ticks(), 1.0})
    ]
    return canvas(SCALE, *words)


def _line(axis: Axis, value: float, kind: str) -> Markup:
    at = percent(axis.at(value))
    return tag("line", class_=kind, x1=at, x2=at, y1=0, y2="100%")
