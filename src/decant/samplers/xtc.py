"""Exclude top choices: at times, all tokens above a threshold but the least likely of them.

Elsewhere a coin is tossed at every position. The next token's law is then a mixture, of the law without the top choices
and of the law itself, and the coin is told to nobody. This warp gives the logarithm of that mixture, up to a constant:
tokens come as often as with a coin, a verifier sees the law that they come from, and so speculation stays right.

Source: Weidmann 2024, https://github.com/oobabooga/text-generation-webui/pull/6335
"""

import math

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp


def xtc(probability: float, threshold: float) -> Warp:
    """With `probability`, forbid tokens of at least `threshold` that are likelier than another such token; of ties for
    the least likely all stay. A threshold of 0.5 or more changes nothing.

    No token is spared for its meaning: implementations that know of line breaks and ends of text often spare those.
    Put it last: a warp behind it sees the mixture, not either side of the coin.
    Raises BadInput unless 0 <= probability <= 1 and 0 < threshold <= 1.
    """
    if not 0 <= probability <= 1:
        raise BadInput(f"xtc's probability must lie in [0, 1], got {probability}; 0 never excludes")
    if not 0 < threshold <= 1:
        raise BadInput(f"xtc's threshold must lie in (0, 1], got {threshold}; from 0.5 on it excludes nothing")

    def warp(logits_XV: Tensor) -> Tensor:
        if probability == 0 or threshold >= 0.5:
            return logits_XV
        probs_XV = logits_XV.softmax(-1)
        least_X1 = logits_XV.masked_fill(probs_XV < threshold, torch.inf).amin(-1, keepdim=True)
        excluded_XV = logits_XV > least_X1
        # Summed in float64: a float32 sum over a large vocabulary depends on how many rows are summed beside it.
        left_X1 = probs_XV.masked_fill(excluded_XV, 0).sum(-1, keepdim=True, dtype=torch.float64)
        # Without the top choices a token is 1 / left as likely: never less than before, but for rounding.
        gain_X1 = torch.log1p((probability / left_X1 - probability).clamp_min(0)).to(logits_XV)
        gain_X1 = gain_X1.where(excluded_XV.any(-1, keepdim=True), 0)
        loss = math.log1p(-probability) if probability < 1 else -math.inf
        return logits_XV + gain_X1.where(~excluded_XV, loss)

    return warp
