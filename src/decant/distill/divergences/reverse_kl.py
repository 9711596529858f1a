"""Reverse KL: what the student's own tokens cost in the teacher's eyes; it seeks a mode instead of covering all.

Source: Gu et al. 2024, arXiv:2306.08543.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class ReverseKL:
    """KL(q || p) = sum q (log q - log p). Where the teacher says never it is huge, and finite."""

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = False  # over the best ids and the rest: a lower bound

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        return (q.exp() * (q - p)).sum(-1)
