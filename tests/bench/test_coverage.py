"""pass@k is unbiased and stable; coverage has intervals over questions; the power law is recovered."""

import itertools
import math
from fractions import Fraction

import pytest
import torch

from decant.bench.coverage import Coverage, coverage, doublings, fitted, pass_at_k
from decant.errors import BadInput


def exactly(samples: int, right: int, k: int) -> float:
    return float(1 - Fraction(math.comb(samples - right, k), math.comb(samples, k)))


def expected(estimate, samples: int, p: float, k: int) -> float:
    """Over all numbers of right samples, by their binomial law: no statistics."""
    law = [math.comb(samples, c) * p**c * (1 - p) ** (samples - c) for c in range(samples + 1)]
    return math.fsum(chance * estimate(samples, c, k) for c, chance in enumerate(law))


@pytest.mark.parametrize("samples", [1, 5, 10_000])
def test_it_is_the_quotient_of_binomials(samples: int) -> None:
    for right in {0, 1, samples // 3, samples - 1, samples}:
        for k in {1, 2, samples // 2 or 1, samples} - {2 * (samples < 2)}:
            assert pass_at_k(samples, right, k) == pytest.approx(exactly(samples, right, k), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("k", [1, 3, 10, 16])
def test_it_is_unbiased(p: float, k: int) -> None:
    assert expected(pass_at_k, 16, p, k) == pytest.approx(1 - (1 - p) ** k, rel=1e-12)


def test_the_share_of_right_ones_put_in_its_place_would_be_biased() -> None:
    naive = expected(lambda n, c, k: 1 - (1 - c / n) ** k, 16, 0.1, 8)
    assert abs(naive - (1 - 0.9**8)) > 0.02


@pytest.mark.parametrize("right", [0, 1, 7, 50])
def test_it_grows_with_k_up_to_whether_any_was_right(right: int) -> None:
    curve = [pass_at_k(50, right, k) for k in range(1, 51)]
    assert all(one <= two for one, two in itertools.pairwise(curve))
    assert curve[0] == pytest.approx(right / 50)
    assert curve[-1] == (right > 0)


@pytest.mark.parametrize(("samples", "right", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 0), (4, 2, 5)])
def test_numbers_that_cannot_be_are_refused(samples: int, right: int, k: int) -> None:
    with pytest.raises(BadInput, match=f"got k {k}, {samples} samples and {right} right"):
        pass_at_k(samples, right, k)


def test_doublings_end_with_all_samples() -> None:
    assert doublings(16) == [1, 2, 4, 8, 16]
    assert doublings(20) == [1, 2, 4, 8, 16, 20]
    assert doublings(1) == [1]


@pytest.mark.parametrize(("a", "b"), [(-2.0, -0.4), (-0.3, -1.2)])
def test_a_power_law_is_recovered(a: float, b: float) -> None:
    ks = doublings(64)
    curve_K = (a * torch.tensor(ks, dtype=torch.float64) ** b).exp()
    assert fitted(curve_K[None], ks)[0].tolist() == pytest.approx([a, b])


def test_coverages_of_0_and_1_are_left_out_of_the_fit() -> None:
    curve_XK = torch.tensor([[0.0, 0.5, 0.7, 1.0], [0.0, 0.0, 0.5, 1.0]], dtype=torch.float64)
    ab_X2 = fitted(curve_XK, [1, 2, 4, 8])
    a, b = ab_X2[0].tolist()
    assert [math.exp(a * k**b) for k in (2, 4)] == pytest.approx([0.5, 0.7])
    assert ab_X2[1].isnan().all()


def drawn(questions: int, samples: int) -> Coverage:
    """Questions whose chance of a right sample is Beta(0.3, 1)."""
    rng = torch.Generator().manual_seed(5)
    chance_Q = torch.rand(questions, generator=rng, dtype=torch.float64) ** (1 / 0.3)
    right_Q = (torch.rand(questions, samples, generator=rng, dtype=torch.float64) < chance_Q[:, None]).sum(-1)
    return coverage(right_Q.tolist(), samples)


def test_intervals_hold_the_curve_of_known_chances() -> None:
    # 1 - E[(1 - p)^k] = 1 - B(0.3, 1 + k) / B(0.3, 1). An honest 95 % interval misses at this seed with chance 1/20;
    # one built from a tenth of the spread would miss at nearly every seed.
    found = drawn(300, 64)
    for k, one in found.by_k.items():
        true = 1 - math.exp(math.lgamma(1 + k) + math.lgamma(1.3) - math.lgamma(1.3 + k))
        assert one.low <= true <= one.high
        assert 0.02 < one.high - one.low < 0.15
    assert found.law is not None
    assert found.law.b.low <= found.law.b.value <= found.law.b.high < 0
    for k, one in found.by_k.items():
        assert found.law.at(k) == pytest.approx(one.value, abs=0.03)


def test_more_questions_narrow_the_interval() -> None:
    few, more = (drawn(questions, 8).by_k[1] for questions in (50, 800))
    assert (few.high - few.low) / (more.high - more.low) == pytest.approx(4, rel=0.3)


@pytest.mark.parametrize("right", [[8, 8, 8], [0, 0]], ids=["all right", "all wrong"])
def test_a_curve_without_a_slope_has_no_law(right: list[int]) -> None:
    found = coverage(right, 8)
    assert found.law is None
    assert found.report()["power_law"] is None
    assert {one.value for one in found.by_k.values()} == {float(right[0] > 0)}


def test_the_report_is_plain_numbers() -> None:
    rows = coverage([0, 3, 8], 8).report()
    assert [row["k"] for row in rows["pass_at_k"]] == [1, 2, 4, 8]
    assert set(rows["power_law"]["a"]) == {"value", "low", "high"}
    assert coverage([0, 3, 8], 8).report() == rows


def test_no_question_is_refused() -> None:
    with pytest.raises(BadInput, match="give at least one"):
        coverage([], 8)
