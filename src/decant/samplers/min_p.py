"""Only tokens at least a given fraction as likely as the likeliest.

Source: Nguyen et al. 2024, arXiv:2407.01082.
"""

import math

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def min_p(p: float) -> Warp:
    """Forbid tokens less than p times as likely as the likeliest. Raises BadInput unless 0 <= p <= 1."""
    if not 0 <= p <= 1:
        raise BadInput(f"min_p must lie in [0, 1], got {p}; 0 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if p == 0:
            return logits_XV
        least_X1 = logits_XV.amax(-1, keepdim=True) + math.log(p)
        return logits_XV.masked_fill(logits_XV < least_X1, -torch.inf)

    return warp
