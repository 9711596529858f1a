"""The test behind the statistical laws: its p-values, its power, its refusals."""

import pytest
import torch

from decant.testing.chi_square import DOUBT, assert_distributed_as, chi_square, critical, p_value, power

LAW_V = torch.tensor([0.5, 0.3, 0.15, 0.05])


@pytest.mark.parametrize(
    ("statistic", "freedom", "expected"),
    [(3.841, 1, 0.05), (5.991, 2, 0.05), (23.209, 10, 0.01), (82.529, 63, 0.05), (0.0, 5, 1.0)],
)
def test_p_values_are_those_of_the_printed_tables(statistic: float, freedom: int, expected: float) -> None:
    assert p_value(statistic, freedom) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("freedom", [1, 4, 63, 255])
def test_critical_is_the_inverse_of_the_p_value(freedom: int) -> None:
    assert p_value(critical(freedom), freedom) == pytest.approx(DOUBT, rel=1e-6)


@pytest.mark.parametrize("freedom", [4, 24, 63, 255])
def test_the_stated_power(freedom: int) -> None:
    draws = 20_000
    assert power((50 + 12 * freedom**0.5) / draws, draws, freedom) > 0.99
    assert power(0.0, draws, freedom) < 1e-4  # a right law is hardly ever refused


@pytest.mark.parametrize(
    ("effect", "draws", "freedom"), [(0.008, 20_000, 63), (0.006, 20_000, 24), (0.008, 65_536, 255)]
)
def test_the_power_that_the_laws_claim(effect: float, draws: int, freedom: int) -> None:
    assert power(effect, draws, freedom) > 0.99


def test_power_agrees_with_simulation() -> None:
    """300 tests of a law that is wrong by the effect at which power is about one half."""
    generator = torch.Generator().manual_seed(0)
    wrong_V = torch.tensor([0.53, 0.28, 0.14, 0.05])
    effect = float(((wrong_V - LAW_V) ** 2 / LAW_V).sum())
    draws = 7_500
    counts_RV = torch.stack(
        [
            torch.bincount(torch.multinomial(wrong_V, draws, replacement=True, generator=generator), minlength=4)
            for _ in range(300)
        ]
    )
    caught = sum(p_value(*chi_square(counts_V, LAW_V)) < DOUBT for counts_V in counts_RV) / 300
    expected = power(effect, draws, 3)
    assert 0.2 < expected < 0.8
    assert caught == pytest.approx(expected, abs=0.12)  # four standard errors of 300 tests


def test_rare_outcomes_are_counted_together() -> None:
    probs_V = torch.tensor([0.9, 0.0999, 0.00005, 0.00005])
    counts_V = torch.tensor([900, 99, 1, 0])
    statistic, freedom = chi_square(counts_V, probs_V)
    assert freedom == 2
    assert statistic < 10


def test_what_cannot_happen_must_not() -> None:
    statistic, freedom = chi_square(torch.tensor([500, 499, 1]), torch.tensor([0.5, 0.5, 0.0]))
    assert p_value(statistic, freedom) == 0.0


def test_the_message_names_the_law() -> None:
    with pytest.raises(
        AssertionError, match=r"coins: chi-square 100 on 1 degrees of freedom from 100 draws, p = 1.5e-23"
    ):
        assert_distributed_as(torch.zeros(100, dtype=torch.int64), torch.tensor([0.5, 0.5]), "coins")
