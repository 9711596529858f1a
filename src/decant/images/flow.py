"""The deterministic map from a private Gaussian vector to a code, in closed form.

On the path x_s = (1 - s) eps + s c, with noise at s = 0 and the code at s = 1, a law p over the codes c_j has the
posterior mean mu = sum_j w_j c_j with w = softmax_j(log p_j - |x - s c_j|^2 / (2 (1 - s)^2)), and the velocity is
(mu - x) / (1 - s). Integrated from eps it ends on a code whose law is p. Papers that put the noise at 1 (DD2) write
t = 1 - s and mean the same w.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1); the closed form is derived there and checked here.
"""

from typing import Final

import torch
from torch import Tensor

from decant.errors import BadInput

STEPS: Final = 40  # of Heun's rule: the distance of laws (total variation) is then below what 40,000 draws resolve


def posterior_mean(x_XC: Tensor, logp_XV: Tensor, codes_VC: Tensor, s_X1: Tensor | float) -> Tensor:
    """mu_XC = E[code | x at time s], 0 <= s < 1; codes of probability zero (-inf) never count. Differentiable in x."""
    s_X1 = torch.as_tensor(s_X1, dtype=x_XC.dtype, device=x_XC.device)
    # |x|^2 is the same for all codes and falls out of the softmax.
    dots_XV = x_XC @ codes_VC.T
    distance_XV = (s_X1 * codes_VC.square().sum(-1) - 2 * dots_XV) * s_X1
    return (logp_XV - distance_XV / (2 * (1 - s_X1).square())).softmax(-1) @ codes_VC


def nearest(x_XC: Tensor, codes_VC: Tensor) -> Tensor:
    """ids_X of the nearest codes; the first of equals."""
    return (codes_VC.square().sum(-1) - 2 * x_XC @ codes_VC.T).argmin(-1)


def flow_map(eps_XC: Tensor, logp_XV: Tensor, codes_VC: Tensor, steps: int = STEPS) -> Tensor:
    """ids_X: the code that each noise vector flows to, by Heun's rule, the last step by Euler's, which ends on mu.

    eps_XC: standard normal. logp_XV: the final law, after guidance and truncation, -inf for what cannot come.
    Raises BadInput for fewer than one step.
    """
    if steps < 1:
        raise BadInput(f"the flow needs at least one step, got {steps}")
    x_XC, by = eps_XC, 1 / steps
    for step in range(steps):
        s = step * by
        slope_XC = (posterior_mean(x_XC, logp_XV, codes_VC, s) - x_XC) / (1 - s)
        ahead_XC = x_XC + by * slope_XC
        if step < steps - 1:
            after = s + by
            then_XC = (posterior_mean(ahead_XC, logp_XV, codes_VC, after) - ahead_XC) / (1 - after)
            ahead_XC = x_XC + by * (slope_XC + then_XC) / 2
        x_XC = ahead_XC
    # A code of probability zero may be the nearest to a mean of two others.
    distance_XV = codes_VC.square().sum(-1) - 2 * x_XC @ codes_VC.T
    return distance_XV.masked_fill(logp_XV == -torch.inf, torch.inf).argmin(-1)
