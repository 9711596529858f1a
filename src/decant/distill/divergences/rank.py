"""Pairwise ranking: the student shall order the teacher's best ids as the teacher does, by a margin.

DistillKit ships a hinge and a logistic form over ordered pairs; margin, scores and mean are our reconstruction.
Source: Arcee DistillKit, github.com/arcee-ai/DistillKit (reconstructed).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class Rank:
    """Mean over pairs of the teacher's `k` best ids, a ranked before b, with d = log q(a) - log q(b).

    form: "hinge": max(0, margin - d); "logistic": log(1 + exp(-d)).
    """

    k: int = 8
    form: Literal["hinge", "logistic"] = "hinge"
    margin: float = 1.0

    zero: ClassVar[bool] = False
    flat: ClassVar[bool] = False
    dense: ClassVar[bool] = True  # the rest in one might be among the best

    def __post_init__(self) -> None:
        if self.k < 2:
            raise BadInput(f"ranking needs at least 2 ids, k is {self.k}")
        if self.form not in ("hinge", "logistic"):
            raise BadInput(f"form is hinge or logistic, not {self.form!r}")

    def __call__(self, p_logp_XV: Tensor, q_logp_XV: Tensor) -> Tensor:
        """penalty_X."""
        count = min(self.k, p_logp_XV.shape[-1])
        score_XK = floored(q_logp_XV).gather(-1, p_logp_XV.topk(count, dim=-1).indices)
        first, second = torch.triu_indices(count, count, offset=1, device=score_XK.device)
        ahead_XP = score_XK[..., first] - score_XK[..., second]
        if self.form == "hinge":
            return (self.margin - ahead_XP).clamp_min(0).mean(-1)
        return functional.softplus(-ahead_XP).mean(-1)
