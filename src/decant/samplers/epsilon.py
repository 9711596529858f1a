"""Only tokens of at least a given probability.

Source: Hewitt et al. 2022, arXiv:2210.15191.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def epsilon(cutoff: float) -> Warp:
    """Forbid tokens less probable than cutoff; where all are, the likeliest stays. Raises BadInput unless
    0 <= cutoff < 1; the paper takes 3e-4 to 9e-4."""
    if not 0 <= cutoff < 1:
        raise BadInput(f"epsilon's cutoff must lie in [0, 1), got {cutoff}; 0 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if cutoff == 0:
            return logits_XV
        probs_XV = logits_XV.softmax(-1)
        least_X1 = probs_XV.amax(-1, keepdim=True).clamp_max(cutoff)
        return logits_XV.masked_fill(probs_XV < least_X1, -torch.inf)

    return warp
