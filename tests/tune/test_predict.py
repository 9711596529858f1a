"""Laws of the predictor on made-up curves, of which the answer is known."""

import pytest

from decant.errors import BadInput
from decant.tune.predict import Drafting, Passes, Profile, best_depth, predict
from decant.types import CostCurve

FLAT = Passes({1: CostCurve((1,), (1.0,))})
STEEP = Passes({1: CostCurve((1, 2, 4, 8, 16), (1.0, 1.1, 1.4, 2.2, 4.0)), 8: CostCurve((1, 4, 16), (2.0, 5.0, 18.0))})
RATES, DEPTHS, COSTS = (0.0, 0.3, 0.6, 0.9), (1, 3, 7), (0.0, 0.02, 0.3)


def chain(rate: float, depth: int, cost: float) -> Profile:
    return Profile.chain(rate, depth, Drafting(level=CostCurve((1,), (cost,))))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("cost", COSTS)
def test_a_flat_curve_gives_the_closed_form(rate, depth, cost):
    """Theorem 3.8 of Leviathan et al.: (1 - a^(k+1)) / ((1 - a) (k c + 1))."""
    expected = (1 - rate ** (depth + 1)) / ((1 - rate) * (depth * cost + 1))
    assert predict(FLAT, chain(rate, depth, cost)).speedup == pytest.approx(expected)


@pytest.mark.parametrize("batch", [1, 3, 8, 20])
def test_guessing_nothing_is_plain_decoding(batch):
    assert predict(STEEP, Profile((), ()), batch).speedup == pytest.approx(1.0)


def test_what_costs_more_is_slower_and_what_is_kept_more_often_is_faster():
    usual = predict(STEEP, chain(0.6, 4, 0.05)).speedup
    assert predict(STEEP, chain(0.7, 4, 0.05)).speedup > usual
    assert predict(STEEP, chain(0.6, 4, 0.10)).speedup < usual
    dearer = Passes({1: CostCurve((1, 2, 4, 8, 16), (1.0, 1.2, 1.8, 3.0, 6.0))})
    assert predict(dearer, chain(0.6, 4, 0.05)).speedup < usual
    riding = Profile((0.6,), (1.0,), riding=3.0)
    assert predict(STEEP, riding).speedup < predict(STEEP, Profile((0.6,), (1.0,))).speedup


def test_a_step_that_costs_beside_the_passes_costs_plain_decoding_too():
    with_crank = Passes(STEEP.curves, crank=1.0)
    bare, cranked = predict(STEEP, chain(0.6, 4, 0.05)), predict(with_crank, chain(0.6, 4, 0.05))
    assert cranked.plain == bare.plain + 1
    assert cranked.seconds == pytest.approx(bare.seconds + 1)
    assert cranked.speedup > bare.speedup  # fewer steps save more, where steps are dear


@pytest.mark.parametrize(("cost", "best"), [(0.02, 6), (0.1, 3)])
def test_the_best_depth_is_that_of_docs_choose_a_method(cost, best):
    assert best_depth(FLAT, chain(0.6, 1, cost), 1, range(13)) == best


def test_of_depths_that_are_as_good_the_smallest_is_taken():
    assert best_depth(FLAT, chain(0.0, 1, 0.0), 1, range(5)) == 0


def test_more_levels_follow_the_last_rate_and_fewer_are_the_first_ones():
    seen = Profile((0.8, 0.4), (1.0, 0.9))
    assert seen.to(4).kept == pytest.approx((0.8, 0.4, 0.2, 0.1))
    assert seen.to(4).nodes == (1.0, 0.9, 0.9, 0.9)
    assert seen.to(1) == Profile((0.8,), (1.0,))
    assert Profile.chain(0.5, 1).to(3) == Profile.chain(0.5, 3)
    assert Profile((), ()).to(3).depth == 0


def test_a_mean_number_of_rows_is_a_mixture_of_passes():
    half = Profile((0.5,), (0.5,))  # a guess every other step
    assert predict(STEEP, half).target == pytest.approx((1.0 + 1.1) / 2)


def test_batches_between_measured_ones_lie_on_a_line_and_others_count_all_rows():
    assert STEEP.seconds(8, 4) == 5.0
    assert STEEP.seconds(4, 1) == pytest.approx(1.0 + (2.0 - 1.0) * 3 / 7)
    assert STEEP.seconds(16, 2) == pytest.approx(STEEP.seconds(8, 4))


def test_drafting_is_charged_by_the_number_of_requests():
    drafting = Drafting(0.5, CostCurve((1, 8), (0.1, 0.8)))
    assert drafting.seconds(1, 3) == pytest.approx(0.8)
    assert drafting.seconds(8, 3) == pytest.approx(2.9)


@pytest.mark.parametrize("kept", [(0.5, 0.6), (1.1,), (-0.1,)])
def test_what_is_no_share_of_kept_guesses_is_refused(kept):
    with pytest.raises(BadInput, match="never rises"):
        Profile(kept, (1.0,) * len(kept))


def test_a_prediction_without_costs_is_refused():
    with pytest.raises(BadInput, match="bench --costs"):
        Passes({})
    with pytest.raises(BadInput, match="no depth"):
        best_depth(FLAT, Profile((), ()), 1, [])
