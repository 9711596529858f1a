import math
import random

import pytest

from decant.tune.interval import Interval, interval, quantile, within


@pytest.mark.parametrize(
    ("level", "freedom", "t"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 5, 2.571), (0.95, 10, 2.228), (0.99, 7, 3.499), (0.95, 200, 1.972)],
)
def test_quantiles_are_those_of_the_tables(level, freedom, t):
    assert quantile(level, freedom) == pytest.approx(t, abs=5e-4)
    assert within(quantile(level, freedom), freedom) == pytest.approx(level, abs=1e-9)


def test_the_interval_holds_the_mean_as_often_as_it_says():
    """2000 samples of 5: 95 % is 1900, give or take 10; normal bounds (1.96) would hold it in about 1757."""
    rng, held = random.Random(0), 0
    for _ in range(2000):
        found = interval([rng.gauss(3.0, 0.7) for _ in range(5)])
        held += found.low <= 3.0 <= found.high
    assert 1900 - 40 <= held <= 1900 + 40


def test_one_value_bounds_nothing():
    found = interval([0.5])
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.ratio() == {"median": pytest.approx(math.exp(0.5), abs=1e-4), "low": None, "high": None}


def test_ratios_are_those_of_the_logs():
    assert Interval(0.0, math.log(0.5), math.log(2.0)).ratio() == {"median": 1.0, "low": 0.5, "high": 2.0}
