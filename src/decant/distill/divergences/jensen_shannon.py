"""Generalised Jensen-Shannon: both laws against their mixture; between forward and reverse KL, and bounded.

Source: Agarwal et al. 2024, arXiv:2306.13649.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from decant.errors import BadInput
from decant.numerics import floored


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
        nats_X: Tensor = _Between.apply(p, q, self.beta)
        return nats_X / (self.beta * (1 - self.beta)) if self.scale == "beta" else nats_X


class _Between(torch.autograd.Function):
    """Of two logarithms without -inf. The slope at each is the summand itself: by log q_i the nats grow by
    (1 - beta) q_i (log q_i - log m_i), for what m adds to both terms cancels. So it is summed, kept and handed back."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, q: Tensor, beta: float) -> Tensor:
        p_XV, q_XV = p.exp(), q.exp()
        # What is cut off here has no mass in either law.
        middle = torch.lerp(q_XV, p_XV, beta).clamp_min_(torch.finfo(q.dtype).tiny).log_()
        p_XV.mul_(p - middle).mul_(beta)
        q_XV.mul_(q - middle).mul_(1 - beta)
        ctx.save_for_backward(p_XV if p.requires_grad else None, q_XV)
        return p_XV.sum(-1) + q_XV.sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slope: Tensor) -> tuple[Tensor | None, Tensor, None]:  # type: ignore[override]
        p_XV, q_XV = ctx.saved_tensors
        slope_X1 = slope[0][..., None]
        return None if p_XV is None else p_XV * slope_X1, q_XV * slope_X1, None


def _kl(one: Tensor, other: Tensor) -> Tensor:
    return (one.exp() * (one - other)).sum(-1)
