"""Adaptive KL: forward KL where the student errs at the teacher's head, reverse KL where it errs in the tail.

Source: Wu et al. 2024, arXiv:2404.02657.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class AdaptiveKL:
    """mu: the head is the teacher's best ids as long as their mass is at most mu, and the best one in any case.

    Each KL weighs as much as its part of sum |p - q|; the weights have no gradient.
    """

    mu: float = 0.5

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = True  # the rest in one would be sorted among the best

    def __post_init__(self) -> None:
        if not 0 <= self.mu <= 1:
            raise BadInput(f"mu is a mass, between 0 and 1, not {self.mu}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        forward_X, reverse_X = (p.exp() * (p - q)).sum(-1), (q.exp() * (q - p)).sum(-1)
        head_X = self.head(p_logp_XV.detach(), q_logp_XV.detach())
        return head_X * forward_X + (1 - head_X) * reverse_X

    def head(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """share_X of the head in sum |p - q|; a half where the laws are equal."""
        sorted_XV, order_XV = p_logp_XV.exp().sort(descending=True)
        gap_XV = (sorted_XV - q_logp_XV.exp().gather(-1, order_XV)).abs()
        in_head_XV = sorted_XV.cumsum(-1) <= self.mu
        in_head_XV[..., 0] = True
        head_X, all_X = (gap_XV * in_head_XV).sum(-1), gap_XV.sum(-1)
        return (head_X / all_X.where(all_X > 0, 1.0)).where(all_X > 0, 0.5)
