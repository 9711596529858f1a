"""The law of samplers."""

import torch

from decant.protocols import Warp


def check_warp(warp: Warp, *, vocab: int = 7, seed: int = 0) -> None:
    """Pointwise, pure, blind to a constant added to a row; forbids only, never allows; leaves something to draw."""
    generator = torch.Generator().manual_seed(seed)
    logits_XV = 3 * torch.randn(4, 5, vocab, generator=generator)
    logits_XV[0, :, 1] = -torch.inf  # a token that a constraint forbade
    logits_XV[1, :, 1:] = -torch.inf  # all but one
    logits_XV[2] = 0.0  # nothing but ties
    given_XV = logits_XV.clone()
    warped_XV = warp(logits_XV)

    assert torch.equal(logits_XV, given_XV), "a warp must not write into its argument"
    assert warped_XV.shape == logits_XV.shape, "a warp keeps the shape"
    assert warped_XV.dtype == logits_XV.dtype, "a warp keeps the type"
    probs_XV = warped_XV.softmax(-1)
    assert probs_XV.isfinite().all(), "a warp must leave something to draw in every row"
    assert (probs_XV[given_XV == -torch.inf] == 0).all(), "a warp must not allow what a constraint forbade"
    one_by_one = torch.stack([warp(row_V[None])[0] for row_V in logits_XV.flatten(0, 1)]).view_as(warped_XV)
    assert torch.equal(one_by_one, warped_XV), "a warp is pointwise: a row's neighbours must not matter"
    moved_XV = warp(logits_XV + 2.0).softmax(-1)
    torch.testing.assert_close(moved_XV, probs_XV, msg="a constant added to a row must not change what is drawn")
