"""The nucleus: the fewest likeliest tokens that hold mass p.

Source: Holtzman et al. 2019, arXiv:1904.09751.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def top_p(p: float) -> Warp:
    """Forbid every token before which likelier tokens already hold mass p; the likeliest always stays.

    Raises BadInput unless 0 < p <= 1. Ties are cut in the order of ids.
    """
    if not 0 < p <= 1:
        raise BadInput(f"top_p must lie in (0, 1], got {p}; 1 keeps every token")

    def warp(logits_XV: Tensor) -> Tensor:
        if p == 1:
            return logits_XV
        sorted_XV, order_XV = logits_XV.sort(dim=-1, descending=True, stable=True)
        mass_XV = sorted_XV.softmax(-1)
        before_XV = mass_XV.cumsum(-1) - mass_XV
        cut_XV = before_XV >= p
        cut_XV[..., 0] = False  # rounding must not forbid everything
        return logits_XV.masked_fill(torch.zeros_like(cut_XV).scatter(-1, order_XV, cut_XV), -torch.inf)

    return warp
