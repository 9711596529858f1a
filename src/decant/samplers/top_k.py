"""Only the k likeliest tokens.

Source: Fan et al. 2018, arXiv:1805.04833.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def top_k(k: int) -> Warp:
    """Forbid what scores below the k-th best; ties with the k-th stay. Raises BadInput for k < 1."""
    if k < 1:
        raise BadInput(f"top_k must keep at least one token, got {k}; leave it out to keep all")

    def warp(logits_XV: Tensor) -> Tensor:
        worst_X1 = logits_XV.topk(min(k, logits_XV.shape[-1]), dim=-1).values[..., -1:]
        return logits_XV.masked_fill(logits_XV < worst_X1, -torch.inf)

    return warp
