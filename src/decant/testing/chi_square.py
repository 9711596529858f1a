"""Are these counts drawn from that law? Pearson's test, with its power stated.

At `DOUBT` one honest method in a million is refused. A wrong law is caught with power above 0.99 once `draws * effect`
exceeds 50 + 12 * sqrt(freedom), where effect is the sum of (wrong - right)^2 / right over all outcomes; an error of
total variation tv has an effect of 4 tv^2 at least.

Source: Pearson 1900, doi:10.1080/14786440009463897; power: Patnaik 1949, doi:10.1093/biomet/36.1-2.202.
"""

import torch
from torch import Tensor

DOUBT = 1e-6
"""Chance that a right law is refused."""

RARE = 5.0
"""Outcomes expected less often than this are counted together: Pearson's approximation fails below it."""


def chi_square(counts_V: Tensor, probs_V: Tensor) -> tuple[float, int]:
    """The statistic and its degrees of freedom; infinite where something happened that cannot.

    counts_V: how often each outcome came; probs_V: its probability.
    """
    counts_V, expected_V = counts_V.double(), probs_V.double() / probs_V.double().sum() * counts_V.sum()
    if (counts_V[expected_V == 0] > 0).any():
        return float("inf"), 1
    rare_V = expected_V < RARE
    counts_C = torch.cat([counts_V[~rare_V], counts_V[rare_V].sum(0, keepdim=True)])
    expected_C = torch.cat([expected_V[~rare_V], expected_V[rare_V].sum(0, keepdim=True)])
    real_C = expected_C > 0
    counts_C, expected_C = counts_C[real_C], expected_C[real_C]
    return float(((counts_C - expected_C) ** 2 / expected_C).sum()), max(len(counts_C) - 1, 1)


def p_value(statistic: float, freedom: int) -> float:
    """How often a right law gives a statistic as large."""
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return 0.0 if statistic == float("inf") else float(torch.special.gammaincc(half[0], half[1]))


def critical(freedom: int, doubt: float = DOUBT) -> float:
    """The statistic whose p-value is `doubt`."""
    low, high = 0.0, 10.0 * freedom + 200.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(middle, freedom) < doubt else (middle, high)
    return high


def power(effect: float, draws: int, freedom: int, doubt: float = DOUBT) -> float:
    """Chance that a wrong law is caught whose sum of (wrong - right)^2 / right is `effect`."""
    away = draws * effect
    # A non-central chi-square is nearly `scale` times a central one with `matched` degrees of freedom.
    scale, matched = (freedom + 2 * away) / (freedom + away), (freedom + away) ** 2 / (freedom + 2 * away)
    half = torch.tensor([matched / 2, critical(freedom, doubt) / scale / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def assert_distributed_as(samples_R: Tensor, probs_V: Tensor, what: str) -> None:
    """Raises AssertionError unless the ids samples_R, each in [0, V), could be draws from probs_V.

    what: names the law, for the message.
    """
    statistic, freedom = chi_square(torch.bincount(samples_R, minlength=len(probs_V)), probs_V)
    chance = p_value(statistic, freedom)
    assert chance >= DOUBT, (
        f"{what}: chi-square {statistic:.0f} on {freedom} degrees of freedom from {len(samples_R)} draws, "
        f"p = {chance:.1e}: not the law that was promised"
    )
