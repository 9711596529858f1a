"""Only tokens that the draft can still learn: those on which a reference, a draft distilled before, is most ahead.

The quantile is taken text by text, not over a batch, so that the size of pieces does not matter.
Source: Hu et al. 2025, arXiv:2510.19779 (AdaSPEC).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.choosing import best, evened
from decant.distill.seams import Gives, Study, Teacher, by_chunks
from decant.errors import BadInput, IncompatibleParts
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True, eq=False)
class AdaSpec:
    """reference: a copy of the first draft, distilled with forward KL and then frozen, as a teacher.

    k:    the share of a text's tokens that are kept. even: whether kept tokens weigh more, so that a text weighs what
        it weighed: the mean is then over kept tokens.
    """

    reference: Teacher
    k: float = 0.4
    even: bool = True

    needs: ClassVar[Gives] = "law"

    def __post_init__(self) -> None:
        if not 0 < self.k <= 1:
            raise BadInput(f"k is the share of tokens that are kept, in (0, 1], not {self.k}")
        if "dense" not in self.reference.gives:
            raise IncompatibleParts(f"a reference gives its whole law; {type(self.reference).__name__} does not")

    def start(self) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def weights(self, state: None, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N by KL(p || q) - KL(p || reference) = E_p[log reference - log q]. Raises IncompatibleParts without a
        teacher."""
        signal, at = study.signal, study.at
        if signal is None:
            raise IncompatibleParts("AdaSpec compares with what a teacher says; the composition has none")
        thought = self.reference.signal(study.batch, at)

        def gap(rows: slice) -> Tensor:
            q_XV, label_X = study.student.logp(rows), at.label_N[rows]
            r_XV, q_XV, _ = thought.law(rows).beside(q_XV, label_X)
            p, q, _ = signal.law(rows).beside(q_XV, label_X)
            _, r, _ = signal.law(rows).beside(r_XV, label_X)
            return (p.exp() * (floored(r) - floored(q))).sum(-1)

        factor_N = best(by_chunks(len(at), study.student.vocab, gap), at.row_N, self.k).to(nats_N)
        return evened(factor_N, at.weight_N, at.row_N) if self.even else factor_N

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
