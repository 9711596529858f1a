"""pass@k and coverage: how often one of k samples of a model is right, and the power law that it follows.

Of n samples of a question c are right. pass@k is the chance that k of these n, drawn without replacement, hold a right
one: the unbiased estimate of 1 - (1 - p)^k. Coverage C(k) is its mean over questions, and is fitted by exp(a k^b).
Source: Chen et al. 2021, arXiv:2107.03374 (the estimator); Brown et al. 2024, arXiv:2407.21787 (coverage, the fit).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.errors import BadInput

RESAMPLES: Final = 1000  # of the questions, with replacement
SURE: Final = 0.95  # of an interval


@final
@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and where `SURE` of those from resampled questions lie."""

    value: float
    low: float
    high: float


@final
@dataclass(frozen=True, slots=True)
class PowerLaw:
    """C(k) = exp(a k^b): a is log C(1), and b < 0 says how fast more samples cover the rest."""

    a: Interval
    b: Interval

    def at(self, k: float) -> float:
        """The coverage of k samples that the law predicts, k beyond those drawn included."""
        return math.exp(self.a.value * k**self.b.value)


@final
@dataclass(frozen=True, slots=True)
class Coverage:
    """by_k: coverage of k samples a question; law: None where fewer than two k have a coverage between 0 and 1."""

    by_k: dict[int, Interval]
    law: PowerLaw | None

    def report(self) -> dict[str, Any]:
        """JSON-ready."""
        law = None if self.law is None else {"a": _rounded(self.law.a), "b": _rounded(self.law.b)}
        return {"pass_at_k": [{"k": k, **_rounded(one)} for k, one in self.by_k.items()], "power_law": law}


def pass_at_k(samples: int, right: int, k: int) -> float:
    """1 - C(samples - right, k) / C(samples, k), stable for any number of samples.

    Raises BadInput unless 0 <= right <= samples and 1 <= k <= samples.
    """
    if not (0 <= right <= samples and 1 <= k <= samples):
        raise BadInput(
            f"pass@k takes k from 1 to the number of samples, of which 0 or more are right; "
            f"got k {k}, {samples} samples and {right} right"
        )
    if samples - right < k:
        return 1.0
    # C(n - c, k) / C(n, k) is the same with c and k exchanged: the shorter product is taken.
    few, many = min(right, k), max(right, k)
    factors_C = torch.arange(samples - few + 1, samples + 1, dtype=torch.float64)
    return 0.0 - math.expm1(float(torch.log1p(-many / factors_C).sum()))


def coverage(right: Sequence[int], samples: int, ks: Sequence[int] | None = None, seed: int = 0) -> Coverage:
    """Of questions with `right` right ones among `samples` samples each.

    ks: which k; None: the powers of two, and `samples`.
    Raises BadInput without a question, or for numbers that `pass_at_k` refuses.
    """
    if not right:
        raise BadInput("coverage is a mean over questions; give at least one")
    ks = doublings(samples) if ks is None else ks
    found = {(count, k): pass_at_k(samples, count, k) for count in set(right) for k in ks}
    pass_QK = torch.tensor([[found[count, k] for k in ks] for count in right], dtype=torch.float64)
    rng = torch.Generator().manual_seed(seed)
    again_RQ = torch.randint(len(right), (RESAMPLES, len(right)), generator=rng)
    means_RK = torch.stack([pass_QK[again_Q].mean(0) for again_Q in again_RQ])
    mean_K = pass_QK.mean(0)
    by_k = {k: _interval(mean, means_R) for k, mean, means_R in zip(ks, mean_K, means_RK.T, strict=True)}
    ab_2 = fitted(mean_K[None], ks)[0]
    if ab_2.isnan().any():
        return Coverage(by_k, None)
    ab_R2 = fitted(means_RK, ks)
    a, b = (_interval(value, values_R) for value, values_R in zip(ab_2, ab_R2.T, strict=True))
    return Coverage(by_k, PowerLaw(a, b))


def doublings(samples: int) -> list[int]:
    """1, 2, 4 ... and `samples` itself."""
    return [*(2**power for power in range(samples.bit_length()) if 2**power < samples), samples]


def fitted(coverage_XK: Tensor, ks: Sequence[int]) -> Tensor:
    """ab_X2: log(-log C) = log(-a) + b log k by least squares; nan where fewer than two k can be used.

    The weights (C log C)^2 make an error of C count alike at every k: without them the last decimals of a coverage near
    one would decide. 0 and 1 themselves have no logarithm and are left out.
    """
    usable_XK = (coverage_XK > 0) & (coverage_XK < 1)
    logp_XK = coverage_XK.where(usable_XK, 0.5).log()
    weight_XK = (coverage_XK * logp_XK).square().where(usable_XK, 0.0)
    weight_XK = weight_XK / weight_XK.sum(-1, keepdim=True)
    x_K = torch.tensor(ks, dtype=torch.float64).log()
    y_XK = (-logp_XK).log()
    x_X1, y_X1 = ((weight_XK * each).sum(-1, keepdim=True) for each in (x_K, y_XK))
    spread_X = (weight_XK * (x_K - x_X1).square()).sum(-1)
    slope_X = (weight_XK * (x_K - x_X1) * (y_XK - y_X1)).sum(-1) / spread_X
    a_X = -(y_X1[..., 0] - slope_X * x_X1[..., 0]).exp()
    enough_X1 = usable_XK.sum(-1, keepdim=True) >= 2
    return torch.stack([a_X, slope_X], -1).where(enough_X1, torch.nan)


def _interval(value: Tensor, resampled_R: Tensor) -> Interval:
    """Resamples without a fit do not count."""
    edges = torch.tensor([(1 - SURE) / 2, (1 + SURE) / 2], dtype=torch.float64)
    low, high = resampled_R.nanquantile(edges).tolist()
    return Interval(float(value), low, high)


def _rounded(one: Interval) -> dict[str, float]:
    return {"value": round(one.value, 6), "low": round(one.low, 6), "high": round(one.high, 6)}
