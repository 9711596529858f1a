"""Tokens about as surprising as the law lets expect: neither too unlikely nor, often, the likeliest.

Source: Meister et al. 2022, arXiv:2202.00666.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored
from decant.protocols import Warp

FEW = 1024  # as in top_p: a typical set is rarely larger, and finding these is cheaper than sorting


def typical(mass: float) -> Warp:
    """Forbid every token before which tokens of surprise nearer to the entropy already hold `mass`; ties in nearness
    with the last one kept stay. The likeliest token may go. Raises BadInput unless 0 < mass <= 1."""
    if not 0 < mass <= 1:
        raise BadInput(f"typical's mass must lie in (0, 1], got {mass}; 1 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if mass == 1:
            return logits_XV
        logp_XV = logits_XV.log_softmax(-1)
        # Summed in float64: a float32 sum over a large vocabulary depends on how many rows are summed beside it.
        entropy_X1 = -(logp_XV.exp() * floored(logp_XV)).sum(-1, keepdim=True, dtype=torch.float64)
        far_XV = (logp_XV + entropy_X1.to(logp_XV)).abs()
        near_XK, ids_XK = far_XV.topk(min(FEW, far_XV.shape[-1]), dim=-1, largest=False)
        inside_XK = _inside(logp_XV.gather(-1, ids_XK), mass)
        if inside_XK[..., -1].any():  # sync: does some typical set reach further?
            near_XK, ids_XK = far_XV.sort(dim=-1)
            inside_XK = _inside(logp_XV.gather(-1, ids_XK), mass)
        furthest_X1 = near_XK.gather(-1, inside_XK.sum(-1, keepdim=True) - 1)
        return logits_XV.masked_fill(far_XV > furthest_X1, -torch.inf)

    return warp


def _inside(logp_XK: Tensor, mass: float) -> Tensor:
    """Which of the nearest tokens belong to the typical set: a beginning of each row, and at least its first."""
    probs_XK = logp_XK.double().exp()
    inside_XK = probs_XK.cumsum(-1) - probs_XK < mass
    inside_XK[..., 0] = True  # rounding must not forbid everything
    return inside_XK
