"""Generalised Jensen-Shannon: both laws against their mixture; between forward and reverse KL, and bounded.

Source: Agarwal et al. 2024, arXiv:2306.13649.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored, mixed


@final
@dataclass(frozen=True, slots=True)
class JensenShannon:
    """beta KL(p || m) + (1 - beta) KL(q || m), m = beta p + (1 - beta) q.

    At 0 it is forward KL and at 1 reverse KL: by convention, for the formula tends to 0 at both ends.
    scale: "beta" divides by beta (1 - beta), so that these ends are its limits and a sweep over beta has no jump.
    """

    beta: float = 0.5
    scale: Literal["none", "beta"] = "none"

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = False  # over the best ids and the rest: a lower bound

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise BadInput(f"beta is the teacher's share of the mixture, between 0 and 1, not {self.beta}")
        if self.scale not in ("none", "beta"):
            raise BadInput(f"scale is none or beta, not {self.scale!r}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        if self.beta == 0:
            return _kl(p, q)
        if self.beta == 1:
            return _kl(q, p)
        middle = mixed(p, q, self.beta)
        nats_X = self.beta * _kl(p, middle) + (1 - self.beta) * _kl(q, middle)
        return nats_X / (self.beta * (1 - self.beta)) if self.scale == "beta" else nats_X


def _kl(one: Tensor, other: Tensor) -> Tensor:
    return (one.exp() * (one - other)).sum(-1)
