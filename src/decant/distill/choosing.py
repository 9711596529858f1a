"""Which tokens of each text count, and how much the rest must make up for it."""

import math

import torch
from torch import Tensor


def best(score_N: Tensor, row_N: Tensor, share: float) -> Tensor:
    """kept_N, bool: of each text the ceil(share * n) tokens of highest score; ties go to the earlier token."""
    kept_N = torch.zeros_like(row_N, dtype=torch.bool)
    for row in row_N.unique().tolist():  # sync: how many are kept depends on the text
        mine_K = (row_N == row).nonzero()[:, 0]
        count = math.ceil(share * len(mine_K) - 1e-9)  # 0.1 * 30 is a little above 3
        kept_N[mine_K[score_N[mine_K].argsort(descending=True, stable=True)[:count]]] = True
    return kept_N


def scaled(score_N: Tensor, row_N: Tensor) -> Tensor:
    """Each text's scores laid over [0, 1]; 0 where all of them are equal."""
    low_N, high_N = _of_text(score_N, row_N, "amin"), _of_text(score_N, row_N, "amax")
    width_N = high_N - low_N
    return torch.where(width_N > 0, (score_N - low_N) / width_N.where(width_N > 0, 1.0), 0.0)


def evened(factor_N: Tensor, weight_N: Tensor, row_N: Tensor) -> Tensor:
    """Factors scaled so that each text weighs what it weighed without them."""
    before_N = _of_text(weight_N, row_N, "sum")
    after_N = _of_text(weight_N * factor_N, row_N, "sum")
    return factor_N * torch.where(after_N > 0, before_N / after_N.where(after_N > 0, 1.0), 0.0)


def _of_text(value_N: Tensor, row_N: Tensor, how: str) -> Tensor:
    """What `how` makes of the values of a token's text, at every token."""
    rows = int(row_N.max()) + 1  # sync: how many texts
    found_B = value_N.new_zeros(rows)
    return found_B.scatter_reduce(0, row_N, value_N, how, include_self=False)[row_N]
