"""DAC-KL: KL within the dense part of the teacher's law, whose bounds a small trained network chooses.

The bounds' network, its input and the floor below its cut are our reconstruction. A minimiser would cut until both laws
agree: `least` of the mass is always kept. Bounds (0, 1) are plain forward KL, and training starts near them. Where one
token holds all that is kept, nothing is learnt: cross-entropy belongs beside it, as in the paper.
Source: Liu et al. 2024, arXiv:2407.10068 (reconstructed).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput
from decant.numerics import FLOOR, floored

WHOLE: Final = 3.0  # "cut nothing" is ahead by so much at the start, where about a tenth of what may be cut is


@final
class Bounds(nn.Module):
    """The teacher's best probabilities -> which quantiles of its mass are kept, the likeliest tokens first."""

    def __init__(self, top: int, hidden: int, least: float) -> None:
        super().__init__()
        self.top, self.spare = top, 1 - least
        self.layers = nn.Sequential(nn.Linear(top, hidden), nn.ReLU(), nn.Linear(hidden, 3))

    def forward(self, p_logp_XV: Tensor) -> tuple[Tensor, Tensor]:
        """low_X and high_X, at least `least` apart."""
        best_XK = p_logp_XV.topk(min(self.top, p_logp_XV.shape[-1]), dim=-1).values.exp()
        read_XK = functional.pad(best_XK, (0, self.top - best_XK.shape[-1]))
        ahead_3 = read_XK.new_tensor([0.0, 0.0, WHOLE])
        cut_X3 = self.spare * (self.layers(read_XK) + ahead_3).softmax(-1)
        return cut_X3[..., 0], 1 - cut_X3[..., 1]


@final
@dataclass(frozen=True, slots=True)
class DACKL:
    """top: probabilities that the network reads; hidden: its width; least: mass that is kept whatever it says."""

    top: int = 64
    hidden: int = 64
    least: float = 0.5
    seed: int = 0

    needs: ClassVar[Gives] = "dense"

    def __post_init__(self) -> None:
        if min(self.top, self.hidden) < 1 or not 0 < self.least <= 1:
            raise BadInput(f"top and hidden must be at least 1, least above 0 and at most 1: {self}")

    def extra(self, student: Any, teacher: Any) -> Bounds:
        """The network of the bounds."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            return Bounds(self.top, self.hidden, self.least)

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal, bounds = study.signal, study.extra
        assert signal is not None
        assert bounds is not None

        def nats(rows: slice) -> Tensor:
            p, q, label_X = signal.law(rows).beside(study.student.logp(rows), study.at.label_N[rows])
            p = study.target(p, q.detach(), label_X)
            return clipped_kl(p, q, *bounds(p))

        return by_chunks(len(study.at), study.student.vocab, nats)


def clipped_kl(p_logp_XV: Tensor, q_logp_XV: Tensor, low_X: Tensor, high_X: Tensor) -> Tensor:
    """nats_X of KL(p || q) within the quantiles low to high of p's mass, likeliest first, both laws renormalised there.

    A token that a bound cuts in two is kept in part, which is where bounds get gradients from.
    """
    p, order_XV = floored(p_logp_XV).sort(descending=True)
    q, low_X1, high_X1 = floored(q_logp_XV).gather(-1, order_XV), low_X[..., None], high_X[..., None]
    end_XV = p.exp().cumsum(-1)
    end_XV = end_XV / end_XV[..., -1:]
    start_XV = functional.pad(end_XV[..., :-1], (1, 0))
    inside_XV = torch.minimum(end_XV, high_X1) - torch.maximum(start_XV, low_X1)
    whole_XV = (start_XV >= low_X1) & (end_XV <= high_X1)  # here the difference of sums is the less exact one
    tiny = torch.finfo(p.dtype).tiny
    kept_XV = (inside_XV / p.exp().clamp_min(tiny)).clamp(0, 1).masked_fill(whole_XV, 1.0)
    some_XV = kept_XV > 0
    log_XV = kept_XV.clamp_min(tiny).log()
    p, q = ((one + log_XV).masked_fill(~some_XV, 3 * FLOOR).log_softmax(-1) for one in (p, q))
    return (p.exp() * (floored(p) - floored(q))).sum(-1)
