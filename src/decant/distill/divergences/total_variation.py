"""Total variation: half the L1 distance, which is the share of drafts that speculative sampling refuses.

Its gradient is bounded and fades far from the teacher; `acceptance` mends that.
Source: Wen et al. 2023, arXiv:2307.15190; Zhou et al. 2024, arXiv:2310.08461.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class TotalVariation:
    """sum |p - q| / 2, between 0 and 1."""

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True  # the subgradient at the kink
    dense: ClassVar[bool] = False  # over the best ids and the rest: a lower bound

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """share_X."""
        return (p_logp_XV.exp() - q_logp_XV.exp()).abs().sum(-1) / 2
