"""Only tokens of at least a given probability, less where the law is flat.

Source: Hewitt et al. 2022, arXiv:2210.15191.
"""

import math

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored
from decant.protocols import Warp


def eta(cutoff: float) -> Warp:
    """Forbid tokens less probable than min(cutoff, sqrt(cutoff) exp(-H)), H the entropy of the row in nats.

    The likeliest always stays: its probability is at least exp(-H). Raises BadInput unless 0 <= cutoff < 1; the paper
    takes 3e-4 to 4e-3.
    """
    if not 0 <= cutoff < 1:
        raise BadInput(f"eta's cutoff must lie in [0, 1), got {cutoff}; 0 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if cutoff == 0:
            return logits_XV
        logp_XV = logits_XV.log_softmax(-1)
        # Summed in float64: a float32 sum over a large vocabulary depends on how many rows are summed beside it.
        entropy_X1 = -(logp_XV.exp() * floored(logp_XV)).sum(-1, keepdim=True, dtype=torch.float64)
        least_X1 = (math.log(cutoff) / 2 - entropy_X1).clamp_max(math.log(cutoff)).to(logp_XV)
        least_X1 = least_X1.minimum(logp_XV.amax(-1, keepdim=True))  # rounding must not forbid everything
        return logits_XV.masked_fill(logp_XV < least_X1, -torch.inf)

    return warp
