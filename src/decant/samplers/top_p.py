"""The nucleus: the fewest likeliest tokens that hold mass p.

Source: Holtzman et al. 2019, arXiv:1904.09751.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp

FEW = 1024  # a nucleus is rarely larger; finding these takes an eighth of the time of sorting 32,000 (one AVX2 core)


def top_p(p: float) -> Warp:
    """Forbid every token before which likelier tokens already hold mass p; ties with the last one kept stay.

    Raises BadInput unless 0 < p <= 1.
    """
    if not 0 < p <= 1:
        raise BadInput(f"top_p must lie in (0, 1], got {p}; 1 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if p == 1:
            return logits_XV
        total_X1 = logits_XV.logsumexp(-1, keepdim=True)
        best_XK = logits_XV.topk(min(FEW, logits_XV.shape[-1]), dim=-1).values
        inside_XK = _inside(best_XK, total_X1, p)
        if inside_XK[..., -1].any():  # sync: does some nucleus reach further?
            best_XK = logits_XV.sort(dim=-1, descending=True).values
            inside_XK = _inside(best_XK, total_X1, p)
        least_X1 = best_XK.gather(-1, inside_XK.sum(-1, keepdim=True) - 1)
        return logits_XV.masked_fill(logits_XV < least_X1, -torch.inf)

    return warp


def _inside(best_XK: Tensor, total_X1: Tensor, p: float) -> Tensor:
    """Which of the best tokens belong to the nucleus: a beginning of each row, and at least its first."""
    mass_XK = (best_XK - total_X1).exp()
    inside_XK = mass_XK.cumsum(-1) - mass_XK < p
    inside_XK[..., 0] = True  # rounding must not forbid everything
    return inside_XK
