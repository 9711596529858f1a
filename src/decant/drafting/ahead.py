"""Guessing with the target's own rows: what it would say behind guesses that it has not accepted.

Source: Song et al. 2021, arXiv:2002.03629 (Jacobi iteration); at a temperature, with the counted noise of `noise.py`.
"""

from typing import Final

from torch import Tensor

from decant.noise import TARGET, Noise
from decant.protocols import Warp

LIKELY: Final = 64  # ids of a row that may win: Gumbel numbers are dear, and behind these there is little left to win


def drawn_ahead(logits_BNV: Tensor, depth_BN: Tensor, warp: Warp, noise: Noise) -> Tensor:
    """tokens_BN: what the target draws from each row with the very number that it will use at that depth, which is its
    greedy choice behind a greedy warp. Once the guesses in front of a row are right, so is this one, unless a token
    beyond the `LIKELY` best of the row wins.

    depth_BN: how many tokens behind the root the row's own token is; 0 for the root.
    """
    law_BNV = warp(logits_BNV.float()).softmax(-1)
    best_BNK, ids_BNK = law_BNV.topk(min(LIKELY, law_BNV.shape[-1]), dim=-1)
    return noise.draw(law_BNV.new_zeros(law_BNV.shape).scatter(-1, ids_BNK, best_BNK), depth_BN, TARGET)
