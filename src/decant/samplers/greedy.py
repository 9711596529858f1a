"""Argmax as a distribution: temperature zero is a value, not a branch.

Source: Leviathan et al. 2023, arXiv:2211.17192, section 2.2.
"""

import torch
from torch import Tensor

from decant.protocols import Warp


def greedy() -> Warp:
    """Forbid everything but the first maximum, so that sampling is argmax and p, q are one-hot."""

    def warp(logits_XV: Tensor) -> Tensor:
        best_X1 = logits_XV.argmax(-1, keepdim=True)
        return torch.full_like(logits_XV, -torch.inf).scatter(-1, best_X1, 0.0)

    return warp
