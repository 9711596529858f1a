"""Do two crowds of short continuations follow one law? Whole groups of them are shuffled between the two.

Groups are the rounds in which they were asked for: what differs from round to round of one side, whatever the reason,
is no difference between the sides. The statistic adds up, over every beginning and every short run of symbols that is
common enough, the squared difference of the two shares in units of its variance: a kernel two-sample statistic.
Source: Fisher 1935, "The Design of Experiments"; Gretton et al. 2012, JMLR 13 (kernels); Patnaik 1949,
doi:10.1093/biomet/36.1-2.202 (power); Székely and Rizzo 2013, doi:10.1016/j.jspi.2013.03.018 (energy distances).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from decant.testing.chi_square import power

FREQUENT: Final = 10  # continuations, of both sides, that must show a feature before it counts
SHUFFLES: Final = 9999
END: Final = "the end"  # stands behind a continuation that ended by itself
LIKELY: Final = 0.9  # the power at which the smallest visible share of a fault is stated

Crowd = Sequence[Sequence[Sequence[Hashable]]]
"""Groups of continuations; a continuation is a sequence of symbols: token ids, or characters."""


@final
@dataclass(frozen=True, slots=True)
class Comparison:
    """statistic: of the two crowds; mean, spread: what shuffled groups give. features: 0 where nothing was common and
    left to chance, and then nothing was compared. p_value: share of shuffles, the crowds themselves among them, that
    differ as much."""

    statistic: float
    p_value: float
    features: int
    mean: float
    spread: float

    def power(self, doubt: float, share: float = 1.0) -> float:
        """Chance that a fault of this size is refused at `doubt`, where only a `share` of continuations suffers it."""
        if not self.features or self.spread == 0:
            return 0.0
        # Shuffles are nearly `scale` times a central chi-square with `freedom` degrees of freedom.
        scale = self.spread**2 / (2 * self.mean)
        freedom = max(1, round(self.mean / scale))
        return power(share**2 * max(0.0, self.statistic - self.mean) / scale, 1, freedom, doubt)

    def smallest(self, doubt: float) -> float | None:
        """The smallest share of continuations that must suffer a fault of this size to be refused with power LIKELY."""
        if self.power(doubt) < LIKELY:
            return None
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (low, middle) if self.power(doubt, middle) >= LIKELY else (middle, high)
        return high


def compare(one: Sequence[Crowd], other: Sequence[Crowd], order: int, seed: int) -> Comparison:
    """The two sides, each a crowd for every site (a prompt); features of different sites are different.

    All sites of a side have as many groups, and all groups of a site as many continuations. order: symbols of a run.
    """
    parts = [_counted(mine, theirs, order) for mine, theirs in zip(one, other, strict=True)]
    centred_GF = np.concatenate([part[0] for part in parts], axis=1)
    weight_F = np.concatenate([part[1] for part in parts])
    groups, mine = len(centred_GF), len(one[0]) if one else 0
    if not len(weight_F):
        return Comparison(0.0, 1.0, 0, 0.0, 0.0)
    owns_SG = np.zeros((SHUFFLES + 1, groups), dtype=np.float32)
    owns_SG[:, :mine] = 1
    owns_SG[1:] = np.random.default_rng(seed).permuted(owns_SG[1:], axis=1)
    found_S = np.concatenate(
        [np.square(part_SG @ centred_GF) @ weight_F for part_SG in np.array_split(owns_SG, max(1, groups // 8))]
    )
    observed, shuffled_S = float(found_S[0]), found_S[1:]
    # The other half of a partition gives the same statistic, up to rounding.
    chance = (1 + int((shuffled_S >= observed * (1 - 1e-5)).sum())) / (1 + SHUFFLES)
    return Comparison(observed, chance, len(weight_F), float(shuffled_S.mean()), float(shuffled_S.std()))


def excess(runs: Sequence[tuple[Sequence[str], Sequence[str]]], seed: int) -> tuple[float, float]:
    """How much two sides disagree beyond what each disagrees with itself, summed over prompts; and its p-value.

    runs: of each prompt, what the one side said each time, and what the other did. Answers are shuffled between the
    sides prompt by prompt, so a prompt on which both waver is worth nothing. The sum sees what all prompts share, their
    largest excess a steady difference of one; the smaller p-value counts twice.
    """
    rng = np.random.default_rng(seed)
    total_S, most_S = np.zeros(SHUFFLES + 1), np.zeros(SHUFFLES + 1)
    for mine, theirs in runs:
        said = [*mine, *theirs]
        apart_RR = np.array([[distance(one, other) for other in said] for one in said])
        owns_SR = np.zeros((SHUFFLES + 1, len(said)))
        owns_SR[:, : len(mine)] = 1
        owns_SR[1:] = rng.permuted(owns_SR[1:], axis=1)
        apart_S = _apart(owns_SR, apart_RR)
        total_S += apart_S
        most_S = np.maximum(most_S, apart_S)
    chances = [(1 + int((found_S[1:] >= found_S[0] - 1e-9).sum())) / (1 + SHUFFLES) for found_S in (total_S, most_S)]
    return float(total_S[0]), min(1.0, 2 * min(chances))


def distance(one: str, other: str) -> float:
    """0 of equal texts; else half, and half the share of the longer that lies behind where they part."""
    if one == other:
        return 0.0
    longest = max(len(one), len(other))
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return 0.5 + 0.5 * (longest - same) / longest


def disagreement(one: Sequence[Hashable], other: Sequence[Hashable] | None = None) -> float:
    """Share of pairs that differ: one of each side, or two of the same."""
    if other is None:
        same = sum(number * (number - 1) for number in Counter(one).values())
        return 1 - same / (len(one) * (len(one) - 1))
    counts = Counter(other)
    return 1 - sum(counts[text] for text in one) / (len(one) * len(other))


def _apart(mine_SR: np.ndarray, apart_RR: np.ndarray) -> np.ndarray:
    """Twice the mean distance between sides, less that within each: an energy distance."""
    theirs_SR = 1 - mine_SR
    runs, others = mine_SR[0].sum(), theirs_SR[0].sum()
    between_S = ((mine_SR @ apart_RR) * theirs_SR).sum(-1) / (runs * others)
    within_S = ((mine_SR @ apart_RR) * mine_SR).sum(-1) / (runs * (runs - 1))
    beside_S = ((theirs_SR @ apart_RR) * theirs_SR).sum(-1) / (others * (others - 1))
    return 2 * between_S - within_S - beside_S


def _counted(mine: Crowd, theirs: Crowd, order: int) -> tuple[np.ndarray, np.ndarray]:
    """centred_GF, how many continuations of a group show a feature beyond their share; weight_F, one over the variance
    of a side's sum. Which features count is decided by both sides together, so that shuffling does not change it."""
    groups = [Counter(feature for said in group for feature in _features(said, order)) for group in (*mine, *theirs)]
    sizes_G = np.array([len(group) for group in (*mine, *theirs)], dtype=np.float32)
    pooled: Counter[Hashable] = sum(groups, Counter())
    everybody = float(sizes_G.sum())
    kept = [feature for feature, count in pooled.items() if FREQUENT <= count < everybody]
    share_F = np.array([pooled[feature] / everybody for feature in kept], dtype=np.float32)
    counts_GF = np.array([[group[feature] for feature in kept] for group in groups], dtype=np.float32)
    counts_GF = counts_GF.reshape(len(groups), len(kept))
    part = float(sizes_G[: len(mine)].sum()) / everybody
    variance_F = everybody * share_F * (1 - share_F) * part * (1 - part)
    return counts_GF - sizes_G[:, None] * share_F, 1 / variance_F


def _features(said: Sequence[Hashable], order: int) -> set[Hashable]:
    """Each beginning, and each run of `order` symbols wherever it stands."""
    beginnings: set[Hashable] = {("begins", tuple(said[:length])) for length in range(1, len(said) + 1)}
    return beginnings | {("holds", tuple(said[at : at + order])) for at in range(len(said) - order + 1)}
