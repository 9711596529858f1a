"""The closed forms of ParallelBench against enumeration, and AUP's invariants."""

import itertools
import math

import pytest

from decant.bench.parallelism import Point, aup, ideal_score, lost_bits


def test_a_permutation_said_at_once_loses_its_total_correlation() -> None:
    for items in (2, 3, 4):
        joint = 1 / math.factorial(items)
        divergence = sum(joint * math.log2(joint / items**-items) for _ in itertools.permutations(range(items)))
        assert lost_bits("shuffle", items, items) == pytest.approx(divergence)
        right = sum(items**-items for _ in itertools.permutations(range(items)))
        assert ideal_score("shuffle", items, items) == pytest.approx(100 * right)


def test_the_numbers_of_the_paper() -> None:
    assert ideal_score("shuffle", 4, 2) == pytest.approx(37.5)
    assert ideal_score("shuffle", 4, 4) == pytest.approx(9.375)
    assert ideal_score("shuffle", 6, 3) == pytest.approx(12.3, abs=0.05)
    assert lost_bits("replace-random", 10**6, 10**6) == pytest.approx(1 / math.log(2), abs=1e-5)
    assert lost_bits("replace-random", 4, 2) is None
    assert lost_bits("copy", 6, 6) == 0


def test_replacing_at_once_by_enumeration() -> None:
    items = 5
    places = list(itertools.product((0, 1), repeat=items))
    chance = {one: math.prod(1 / items if new else 1 - 1 / items for new in one) for one in places}
    right = sum(chance[one] for one in places if sum(one) == 1)
    assert ideal_score("replace-random", items, items) == pytest.approx(100 * right)
    divergence = sum(math.log2(1 / items / chance[one]) / items for one in places if sum(one) == 1)
    assert lost_bits("replace-random", items, items) == pytest.approx(divergence)


def test_fewer_at_a_time_never_lose_more() -> None:
    for items in (3, 4, 6):
        even = [count for count in range(1, items + 1) if items % count == 0]
        losses = [lost_bits("shuffle", items, count) or 0.0 for count in even]
        assert losses[0] == pytest.approx(0)
        assert losses == sorted(losses)


def test_aup() -> None:
    assert aup([Point(1.0, 80.0)], best=80) == pytest.approx(80)
    curve = [Point(1.0, 80.0), Point(2.0, 78.0), Point(4.0, 20.0)]
    fallen = aup(curve, best=80)
    assert fallen == pytest.approx(aup(curve[:2], best=80))  # the last is too far below the first
    better = aup([Point(1.0, 80.0), Point(2.0, 80.0)], best=80)
    assert better == pytest.approx(160)
    assert fallen < better
    assert aup(curve[:2], best=90) < fallen  # another method is better
    with pytest.raises(ValueError, match="at least one point"):
        aup([], best=80)
