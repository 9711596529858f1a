"""Cross-entropy with the teacher's law: forward KL with the teacher's own entropy left in.

Source: Hinton et al. 2015, arXiv:1503.02531.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class SoftCrossEntropy:
    """-sum p log q."""

    zero: ClassVar[bool] = False  # what is left is the teacher's entropy
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = False

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        return -(p.exp() * q).sum(-1)
