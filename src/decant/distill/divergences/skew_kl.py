"""Skew KL: one law against a mixture of both, so that their ratio is bounded and the gradient tame.

Source: Ko et al. 2024, arXiv:2402.03898 (DistiLLM).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored, mixed


@final
@dataclass(frozen=True, slots=True)
class SkewKL:
    """Forward: KL(p || lam p + (1 - lam) q). Reverse: KL(q || lam q + (1 - lam) p). Never more than log(1 / lam).

    The teacher's entropy is kept, which the authors' code drops: only the value differs.
    """

    lam: float = 0.1
    reverse: bool = False

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = False  # over the best ids and the rest: a lower bound

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise BadInput(f"lam is a share of the mixture, between 0 and 1, not {self.lam}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        one, other = (q, p) if self.reverse else (p, q)
        return (one.exp() * (one - mixed(one, other, self.lam))).sum(-1)
