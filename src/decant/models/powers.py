"""What the contrasts of two laws are made of: products of their powers, and the set of tokens that may be said at all.

Source: the set is the plausibility constraint of Li et al. 2022, arXiv:2210.15097.
"""

import math

import torch
from torch import Tensor

from decant.errors import BadInput


def powers(logp_XV: Tensor, weight: float, other_logp_XV: Tensor, other_weight: float) -> Tensor:
    """log(p^weight other^other_weight), logits_XV of the product's law.

    Under a positive weight a token that its law forbids stays forbidden; under a negative one, where it would win over
    every other, it counts as the least that its law allows. A weight of 0 leaves its law out.
    """
    return _power(logp_XV, weight) + _power(other_logp_XV, other_weight)


def plausible(said_XV: Tensor, logits_XV: Tensor, alpha: float) -> Tensor:
    """said_XV, without the tokens that `logits_XV` make less than alpha times as likely as the likeliest."""
    if alpha == 0:
        return said_XV
    least_X1 = logits_XV.amax(-1, keepdim=True) + math.log(alpha)
    return said_XV.masked_fill(logits_XV < least_X1, -torch.inf)


def refuse_alpha(alpha: float) -> None:
    """Raise BadInput unless 0 <= alpha <= 1."""
    if not 0 <= alpha <= 1:
        raise BadInput(f"alpha must lie in [0, 1], got {alpha}; 0 keeps every token, 1 only the likeliest")


def _power(logp_XV: Tensor, weight: float) -> Tensor:
    if weight == 0:
        return torch.zeros_like(logp_XV)  # 0 times -inf is nan
    if weight < 0:
        least_X1 = logp_XV.masked_fill(logp_XV == -torch.inf, torch.inf).amin(-1, keepdim=True)
        logp_XV = torch.maximum(logp_XV, least_X1)
    return weight * logp_XV
