"""Only logits within n standard deviations of the largest. The set is the same at every temperature.

Source: Tang et al. 2024, arXiv:2411.07641.
"""

import math

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def top_n_sigma(n: float) -> Warp:
    """Forbid logits below max - n sigma; raises BadInput unless n is positive and finite.

    sigma is that of the population of the row's allowed tokens (torch.std divides by one less). Put this warp before
    others that forbid: they shrink it.
    """
    if not (n > 0 and math.isfinite(n)):
        raise BadInput(f"top_n_sigma needs a positive number of standard deviations, got {n}; for argmax use greedy()")

    def warp(logits_XV: Tensor) -> Tensor:
        allowed_XV = logits_XV > -torch.inf
        # In float64: its sums do not depend on the rows beside them, nor overflow where a temperature is tiny.
        gap_XV = (logits_XV.amax(-1, keepdim=True) - logits_XV).masked_fill(~allowed_XV, 0).double()
        count_X1 = allowed_XV.sum(-1, keepdim=True)
        mean_X1 = gap_XV.sum(-1, keepdim=True) / count_X1
        square_X1 = gap_XV.square().sum(-1, keepdim=True) / count_X1
        sigma_X1 = (square_X1 - mean_X1.square()).clamp_min(0).sqrt()
        return logits_XV.masked_fill(gap_XV > n * sigma_X1, -torch.inf)

    return warp
