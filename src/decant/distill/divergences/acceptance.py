"""Acceptance: what a drafter lives by, the chance sum min(p, q) that speculative sampling takes its guess.

The chance itself is a poor teacher far from the target, where its gradient fades; its logarithm is not, nor is a blend
with forward KL that fades as the chance grows.
Source: Samarin et al. 2026, arXiv:2602.23881 (LK losses).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class Acceptance:
    """Of the chance a = sum min(p, q):

    form: "alpha": -log a; "lambda": s KL(p || q) + (1 - s)(1 - a), s = exp(-eta a) without a gradient; "rate": 1 - a,
        which is total variation.
    """

    form: Literal["alpha", "lambda", "rate"] = "lambda"
    eta: float = 3.0

    zero: ClassVar[bool] = True
    flat: ClassVar[bool] = True
    dense: ClassVar[bool] = False  # over the best ids and the rest: a lower bound

    def __post_init__(self) -> None:
        if self.form not in ("alpha", "lambda", "rate"):
            raise BadInput(f"form is alpha, lambda or rate, not {self.form!r}")
        if self.eta < 0:
            raise BadInput(f"eta must be at least 0, got {self.eta}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """nats_X."""
        p, q = floored(p_logp_XV), floored(q_logp_XV)
        chance_X = torch.minimum(p, q).logsumexp(-1)
        if self.form == "alpha":
            return -chance_X
        refused_X = -chance_X.expm1()
        if self.form == "rate":
            return refused_X
        share_X = (-self.eta * chance_X.detach().exp()).exp()
        return share_X * (p.exp() * (p - q)).sum(-1) + (1 - share_X) * refused_X
