"""Several warps as one.

Source: Leviathan et al. 2023, arXiv:2211.17192, section 2.2: every sampler is plain sampling from adjusted logits.
"""

from torch import Tensor

from decant.protocols import Warp


def chain(*warps: Warp) -> Warp:
    """Apply warps left to right; none at all leaves logits as they are."""

    def warp(logits_XV: Tensor) -> Tensor:
        for step in warps:
            logits_XV = step(logits_XV)
        return logits_XV

    return warp
