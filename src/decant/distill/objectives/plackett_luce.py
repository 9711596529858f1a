"""Plackett-Luce: the likelihood of one order of all tokens, the text's first, then the teacher's by preference.

It takes the place of cross-entropy and distillation together: nothing is left to mix. It is not smallest at q = p.
Source: Bassam et al. 2025, arXiv:2506.12542 (PLD; from its abstract and summaries).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.distill.seams import Gives, Study
from decant.distill.tiles import by_tiles
from decant.errors import BadInput
from decant.numerics import FLOOR, floored

GONE: Final = 3 * FLOOR  # beneath every floored logarithm; infinity would be NaN in gradients


@final
@dataclass(frozen=True, slots=True)
class PlackettLuce:
    """sum over ranks r of alpha_r (log of what is left of q at rank r - log q at rank r), alpha the teacher's law.

    k: ranks that are summed; each sees all that is left, so these terms are exact. temperature: of alpha.
    """

    k: int = 100
    temperature: float = 1.0

    needs: ClassVar[Gives] = "dense"

    def __post_init__(self) -> None:
        if self.k < 1 or self.temperature <= 0:
            raise BadInput(f"k must be at least 1 and temperature above 0: {self}")

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal = study.signal
        assert signal is not None

        def nats(rows: slice, q: Tensor) -> Tensor:
            p, q, label_X = signal.law(rows).beside(q, study.at.label_N[rows])
            return self.nats(study.target(p, q.detach(), label_X), q, label_X)

        return by_tiles(study, nats)

    def nats(self, p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """nats_X."""
        p, q, label_X1 = floored(p_logp_XV), floored(q_logp_XV), label_X[:, None]
        others_XV = p.scatter(-1, label_X1, GONE)
        rest_XK = others_XV.topk(min(self.k, p.shape[-1]) - 1, dim=-1).indices
        order_XK = torch.cat([label_X1, rest_XK], -1)
        score_XK = q.gather(-1, order_XK)
        behind_X1 = q.scatter(-1, order_XK, GONE).logsumexp(-1, keepdim=True)
        left_XK = torch.cat([score_XK, behind_X1], -1).flip(-1).logcumsumexp(-1).flip(-1)[:, :-1]
        alpha_XK = (p / self.temperature).log_softmax(-1).gather(-1, order_XK).exp()
        return (alpha_XK * (left_XK - score_XK)).sum(-1)
