"""Axes and charts: a value lies where its number says, and what is drawn says what it shows."""

import re
from itertools import pairwise
from random import Random

import pytest

from decant.pages.charts.columns import columns, stacked
from decant.pages.charts.curve import curve
from decant.pages.charts.drawing import TICKS, Axis, canvas, tag
from decant.pages.charts.frontier import frontier, unbeaten
from decant.pages.charts.intervals import interval, scale
from tests.pages.markup import Markup

DICE = Random(0)
RANGES = [[10 ** DICE.uniform(-2, 2) for _ in range(DICE.randint(1, 8))] for _ in range(40)]


def numbers(drawn: str, kind: str, name: str) -> list[float]:
    """An attribute of all elements of a class; per cent signs off."""
    found = [one for _, one in Markup(drawn).elements if one.get("class") == kind]
    return [float((one[name] or "").removesuffix("%")) for one in found]


@pytest.mark.parametrize("values", RANGES)
@pytest.mark.parametrize("kind", [Axis.ratios, Axis.amounts])
def test_values_and_ticks_lie_on_the_axis_in_order(values, kind):
    axis = kind(values)
    places = [axis.at(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)
    assert all(axis.at(value) == 0 or axis.low <= value <= axis.high for value in values)
    ticks = axis.ticks()
    assert all(axis.low <= tick <= axis.high * (1 + 1e-9) for tick in ticks)
    assert ticks == sorted(set(ticks))


@pytest.mark.parametrize("values", RANGES)
def test_an_axis_of_ratios_has_one_on_it_and_few_ticks(values):
    axis = Axis.ratios(values)
    assert axis.low < 1 < axis.high
    assert len(axis.ticks()) <= TICKS


def test_twice_as_much_is_always_equally_far():
    axis = Axis.ratios([0.25, 4])
    steps = [axis.at(b) - axis.at(a) for a, b in pairwise([0.25, 0.5, 1, 2, 4])]
    assert steps == pytest.approx([steps[0]] * 4)


def test_values_beyond_the_axis_stay_at_its_ends():
    axis = Axis(0.0, 2.0)
    assert (axis.at(-1), axis.at(3)) == (0.0, 1.0)


def test_amounts_without_any_are_from_nothing_to_one():
    assert Axis.amounts([]) == Axis.amounts([0.0]) == Axis(0.0, 1.0)


def test_an_interval_goes_from_low_to_high_around_its_median():
    axis = Axis.ratios([0.5, 3])
    drawn = interval(axis, {"median": 1.5, "low": 1.2, "high": 2.0}, predicted=0.7)
    left, right = numbers(drawn, "whisker", "x1")[0], numbers(drawn, "whisker", "x2")[0]
    (dot,) = numbers(drawn, "dot", "cx")
    assert [left, dot, right] == pytest.approx([100 * axis.at(value) for value in (1.2, 1.5, 2.0)], abs=0.01)
    assert numbers(drawn, "level", "x1") == pytest.approx([100 * axis.at(1.0)], abs=0.01)
    assert drawn.count('class="diamond"') == 1


def test_a_bound_that_is_not_known_counts_as_the_median():
    drawn = interval(Axis.ratios([3]), {"median": 1.5, "low": None, "high": None})
    assert len(set(numbers(drawn, "whisker", "x1") + numbers(drawn, "dot", "cx"))) == 1


def test_what_was_not_measured_has_no_dot():
    assert 'class="dot"' not in interval(Axis.ratios([3]), None, predicted=2.0)


def test_a_scale_always_names_plain_decoding():
    assert "1x" in Markup(scale(Axis(0.93, 1.07, ratio=True))).text


def test_nobody_beats_what_stands_on_the_frontier():
    points = [(DICE.random() + 0.1, DICE.random()) for _ in range(60)]
    kept = unbeaten(points)
    for at, (speed, quality) in enumerate(points):
        better = any(s >= speed and q >= quality and (s, q) != (speed, quality) for s, q in points)
        assert (at in kept) is not better
    qualities = [points[at][1] for at in kept]
    assert qualities == sorted(qualities, reverse=True)


def test_equal_points_stand_on_it_together():
    assert unbeaten([(2.0, 1.0), (2.0, 1.0), (1.0, 1.0)]) == [0, 1]


def test_the_frontier_numbers_its_points():
    drawn = Markup(frontier([(1.0, 1.0), (2.0, 0.9)], "quality over speed"))
    assert drawn.named("svg")[0]["aria-label"] == "quality over speed"
    assert {"1", "2"} <= set(drawn.words.split()) | set(re.findall(r"\d", drawn.text))
    up = numbers(frontier([(1.0, 1.0), (2.0, 0.9)], ""), "dot", "cy")
    assert up[0] < up[1]  # y grows downwards


def test_one_quality_for_all_is_no_division_by_zero():
    assert frontier([(1.0, 0.0), (2.0, 0.0)], "")


def test_a_curve_rises_with_its_milliseconds_above_the_floor():
    points = [{"tokens": n, "ms": {"median": ms, "low": ms, "high": ms}} for n, ms in ((1, 4.0), (8, 5.0), (64, 9.0))]
    drawn = curve(points, 3.0, 9.0, "what it costs")
    heights, (floor,) = numbers(drawn, "dot", "cy"), numbers(drawn, "floor", "y1")
    assert heights == sorted(heights, reverse=True)
    assert floor > heights[0]
    across = numbers(drawn, "dot", "cx")
    assert across == pytest.approx([0, 50, 100])


def test_columns_are_as_tall_as_their_shares():
    drawn = columns([1.0, 0.5, 0.0], "")
    tall = numbers(drawn, "column", "height")
    assert tall[1] == tall[0] / 2
    assert tall[2] == 0
    assert "50" in Markup(drawn).text


def test_of_many_columns_a_few_are_labelled():
    labels = re.findall(r'class="tick"', columns([0.5] * 40, ""))
    assert len(labels) == 20


def test_shares_fill_the_bar():
    drawn = stacked([0.5, 0.3, 0.2])
    widths = [numbers(drawn, kind, "width")[0] for kind in ("hatched", "full", "dotted")]
    assert widths == pytest.approx([50, 30, 20])
    assert numbers(drawn, "dotted", "x") == pytest.approx([80])


def test_what_is_drawn_is_escaped():
    drawn = canvas(10, tag("text", "<b>&", title='"'), label='"><script>')
    assert "<b>" not in drawn
    assert Markup(drawn).named("svg")[0]["aria-label"] == '"><script>'
    assert Markup(drawn).text == "<b>&"
