"""The longest beginning of the likeliest tokens whose entropy, as a law of its own, is at most a share of the row's.

The code that is shipped for it applies another rule: it adds up -p log p over the likeliest hundred tokens without
renormalising what it keeps, and stops at a share of that sum. It keeps several times as many tokens of a flat law.

Source: Baghaei Potraghloo et al. 2025, arXiv:2509.02510.
"""

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored
from decant.protocols import Warp

FEW = 1024  # as in top_p: more are rarely kept, and finding these is cheaper than sorting


def top_h(alpha: float, shipped_top: int | None = None) -> Warp:
    """Forbid all but the likeliest tokens, as many as have an entropy of alpha times the row's; the first always stays.
    Of ties with the last one kept only the lowest ids stay, or the entropy would exceed its bound.

    shipped_top: None, or how many tokens the shipped rule looks at (100 in transformers), as a law of their own; none
    beyond them is kept. Raises BadInput unless 0 < alpha <= 1 and shipped_top >= 1.
    """
    if not 0 < alpha <= 1:
        raise BadInput(f"top_h must lie in (0, 1], got {alpha}; 1 keeps the most")
    if shipped_top is not None and shipped_top < 1:
        raise BadInput(f"top_h's shipped rule must look at one token at least, got {shipped_top}; it ships with 100")

    def warp(logits_XV: Tensor) -> Tensor:
        if shipped_top is not None:
            best_XK = logits_XV.topk(min(shipped_top, logits_XV.shape[-1]), dim=-1).values
            return _first(logits_XV, best_XK, _within_share(best_XK, alpha))
        if alpha == 1:
            return logits_XV
        logp_XV = logits_XV.log_softmax(-1)
        # Summed in float64: a float32 sum over a large vocabulary depends on how many rows are summed beside it.
        limit_X1 = -alpha * (logp_XV.exp() * floored(logp_XV)).sum(-1, keepdim=True, dtype=torch.float64)
        best_XK = logits_XV.topk(min(FEW, logits_XV.shape[-1]), dim=-1).values
        inside_XK = _within_entropy(best_XK, limit_X1)
        if inside_XK[..., -1].any():  # sync: does some row reach further?
            best_XK = logits_XV.sort(dim=-1, descending=True).values
            inside_XK = _within_entropy(best_XK, limit_X1)
        return _first(logits_XV, best_XK, inside_XK)

    return warp


def _within_entropy(best_XK: Tensor, limit_X1: Tensor) -> Tensor:
    """Which tokens close a beginning of at most `limit_X1` nats: the entropy of a beginning grows with its length."""
    gap_XK = floored(best_XK - best_XK[..., :1]).double()
    weight_XK = gap_XK.exp()
    total_XK = weight_XK.cumsum(-1)
    # Of weights w that sum to W the entropy is log W - sum(w log w) / W.
    entropy_XK = total_XK.log() - (weight_XK * gap_XK).cumsum(-1) / total_XK
    return (entropy_XK <= limit_X1) & (weight_XK > 0)


def _within_share(best_XK: Tensor, alpha: float) -> Tensor:
    """Which tokens close a beginning that holds at most a share alpha of the sum of -p log p."""
    probs_XK = best_XK.softmax(-1)
    terms_XK = torch.special.entr(probs_XK).cumsum(-1, dtype=torch.float64)
    return (terms_XK <= alpha * terms_XK[..., -1:]) & (probs_XK > 0)


def _first(logits_XV: Tensor, best_XK: Tensor, inside_XK: Tensor) -> Tensor:
    """Forbid all but as many tokens as are inside, or one; of equal ones the lowest ids stay."""
    count_X1 = inside_XK.sum(-1, keepdim=True).clamp_min(1)
    last_X1 = best_XK.gather(-1, count_X1 - 1)
    tied_XV, above_XV = logits_XV == last_X1, logits_XV > last_X1
    room_X1 = count_X1 - above_XV.sum(-1, keepdim=True)
    early_XV = tied_XV.cumsum(-1, dtype=torch.int32) <= room_X1
    return logits_XV.masked_fill(~(above_XV | (tied_XV & early_XV)), -torch.inf)
