"""Sorted L1, the distance of universal logit distillation: what both laws look like, whatever their tokens are called.

It cannot tell which token is which: keep cross-entropy beside it.
Source: Boizard et al. 2024, arXiv:2402.12030 (ULD).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from torch.nn import functional


@final
@dataclass(frozen=True, slots=True)
class SortedL1:
    """sum |p_(k) - q_(k)| over ranks k, between 0 and 2: Wasserstein's distance where all tokens are equally far apart.

    The laws may be over vocabularies of two sizes.
    """

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True  # the subgradient at the kink
    dense: ClassVar[bool] = True  # the rest in one would be ranked as a token

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """distance_X."""
        size = max(p_logp_XV.shape[-1], q_logp_XV.shape[-1])
        p, q = (
            functional.pad(logp_XV.exp().sort(descending=True).values, (0, size - logp_XV.shape[-1]))
            for logp_XV in (p_logp_XV, q_logp_XV)
        )
        return (p - q).abs().sum(-1)
