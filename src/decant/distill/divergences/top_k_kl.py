"""TopKLD: one KL over the teacher's best ids, the other over all else.

Only the idea is known to us; which direction goes where, and the terms that keep each part above zero, are our
reconstruction. Made for quantised generators of image tokens.
Source: Ding et al. 2025, arXiv:2501.06218 (reconstructed).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class TopKKL:
    """Reverse KL over the teacher's `k` best ids, forward KL over the others; `swapped`: the other way round.

    Parts of a law do not sum to one: each part is a generalised KL, sum a log(a / b) - a + b, which is never negative.
    """

    k: int = 100
    swapped: bool = False

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = True  # the rest in one might be among the best

    def __post_init__(self) -> None:
        if self.k < 0:
            raise BadInput(f"k counts ids, 0 or more, not {self.k}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        gap_XV, more_XV = p - q, p.exp() - q.exp()
        forward_XV, reverse_XV = p.exp() * gap_XV - more_XV, more_XV - q.exp() * gap_XV
        best_XK = p.topk(min(self.k, p.shape[-1]), dim=-1).indices
        reversed_XV = (p != p).scatter(-1, best_XK, True) ^ self.swapped
        return reverse_XV.where(reversed_XV, forward_XV).sum(-1)
