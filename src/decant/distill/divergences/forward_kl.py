"""Forward KL: what the student pays for the teacher's tokens; it covers all that the teacher might say.

Source: Hinton et al. 2015, arXiv:1503.02531.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class ForwardKL:
    """KL(p || q) = sum p (log p - log q)."""

    zero: ClassVar[bool] = True  # at p == q
    flat: ClassVar[bool] = True  # no gradient there
    dense: ClassVar[bool] = False  # also right over the best ids and the rest

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        return (p.exp() * (p - q)).sum(-1)
