"""Shares by position, a column each; and shares of a whole, side by side."""

from collections.abc import Sequence

from markupsafe import Markup

from decant.pages.charts.drawing import canvas, percent, tag

HEIGHT = 90
LABELLED = 10  # columns, at most, that all have room for words
BAR = 16


def columns(shares: Sequence[float], label: str) -> Markup:
    """Shares of 1 upwards, positions from 1 to the right. Of many columns the first few positions are told."""
    width = 1 / max(len(shares), 6)
    every = -(-len(shares) // LABELLED)
    drawn = [tag("line", class_="grid", x1="0%", x2="100%", y1=y, y2=y) for y in (16, 16 + HEIGHT)]
    for at, share in enumerate(shares):
        tall, middle = HEIGHT * min(max(share, 0.0), 1.0), percent((at + 0.5) * width)
        drawn.append(
            tag(
                "rect", class_="column", x=percent((at + 0.12) * width), width=percent(0.76 * width),
                y=f"{16 + HEIGHT - tall:.1f}", height=f"{tall:.1f}",
            )
        )  # fmt: skip
        if at % every == 0:
            y = f"{12 + HEIGHT - tall:.1f}"
            drawn.append(tag("text", f"{100 * share:.0f}", class_="tick", x=middle, y=y, text_anchor="middle"))
            drawn.append(tag("text", str(at + 1), class_="tick", x=middle, y=HEIGHT + 31, text_anchor="middle"))
    return canvas(HEIGHT + 34, *drawn, label=label)


def stacked(shares: Sequence[float]) -> Markup:
    """Shares of a whole in one bar; the first is hatched, the second full, the others dotted: no colour is needed."""
    drawn, begin = [], 0.0
    for at, share in enumerate(shares):
        kind = ("hatched", "full", "dotted")[min(at, 2)]
        drawn.append(tag("rect", class_=kind, x=percent(begin), width=percent(share), y=1, height=BAR - 2))
        begin += share
    return canvas(BAR, *drawn)
