"""Guessing with the target's own rows: what it would say behind guesses that it has not accepted.

Source: Song et al. 2021, arXiv:2002.03629 (Jacobi iteration); at a temperature, with the counted noise of `noise.py`.
"""

from torch import Tensor

from decant.noise import LIKELY, TARGET, Noise
from decant.numerics import likeliest
from decant.protocols import Warp


def drawn_ahead(logits_BNV: Tensor, depth_BN: Tensor, warp: Warp, noise: Noise) -> Tensor:
    """tokens_BN: what the target draws from each row with the very number that it will use at that depth, which is its
    greedy choice behind a greedy warp. Once the guesses in front of a row are right, so is this one, unless a token
    beyond the `LIKELY` best of the row wins.

    depth_BN: how many tokens behind the root the row's own token is; 0 for the root.
    """
    return noise.draw(likeliest(warp(logits_BNV.float()).softmax(-1), LIKELY), depth_BN, TARGET)
