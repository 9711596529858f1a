"""Tokens that a constraint forces, as guesses in front of a chain: they need no drafter, and are kept."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.types import PAD, Draft


def forced(draft: Draft, certain_BN: Tensor) -> Draft:
    """The chain with `certain_BN`, PAD behind them, in front; its own guesses stay where it begins with those.

    The law of such a guess is all on it, so that a verifier of laws is exact even where it refuses one: what is certain
    depends on what was said alone, and whether a drawn guess stays depends on the guesses before it alone.
    """
    if not certain_BN.shape[1]:
        return draft
    width = max(certain_BN.shape[1], draft.tokens_BN.shape[1])
    certain_BN, guess_BN = _wide(certain_BN.to(draft.tokens_BN), width), _wide(draft.tokens_BN, width)
    sure_BN = certain_BN != PAD
    stays_BN = ((certain_BN == guess_BN) | ~sure_BN).long().cumprod(1).bool() & (guess_BN != PAD)
    at_BN = (
        torch.arange(width, device=guess_BN.device) if draft.evaluated_BN is None else _wide(draft.evaluated_BN, width)
    )
    laws_BMV = draft.laws_BMV
    if laws_BMV is not None:
        laws_BMV = pad(laws_BMV, (0, 0, 0, max(0, width - laws_BMV.shape[1])))
        one_hot_BNV = torch.zeros_like(laws_BMV[:, :width]).scatter(-1, certain_BN.clamp_min(0)[..., None], 1.0)
        laws_BMV = one_hot_BNV.where(sure_BN[..., None], laws_BMV[:, :width])
    return Draft(
        certain_BN.where(sure_BN, guess_BN.where(stays_BN, PAD)),
        laws_BMV=laws_BMV,
        siblings=draft.siblings,
        evaluated_BN=torch.where(stays_BN, at_BN, PAD),
    )


def _wide(rows_BN: Tensor, width: int) -> Tensor:
    return pad(rows_BN, (0, width - rows_BN.shape[1]), value=PAD)
