"""Sinkhorn: the cost of carrying a group of the student's laws over to the teacher's of the same group.

The only objective here whose positions see each other. The paper's group is the batch, so there its gradient depends
on how the batch is cut; ours is a run of positions of one text, and pieces of a batch are whole texts: it does not.
Source: Cui et al. 2024, arXiv:2402.17110 (SinKD).
"""

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.seams import Gives, Study, over
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Sinkhorn:
    """group: positions that are carried together; their L1 distances cost group^2 times the vocabulary.

    temperature: of both laws. epsilon: how blurred the plan is. iterations: times that its rows, then its columns, are
    made to sum to one. debiased: minus half of what each side costs against itself, so that equal laws cost nothing.
    """

    group: int = 16
    temperature: float = 2.0
    epsilon: float = 0.1
    iterations: int = 20
    debiased: bool = False

    needs: ClassVar[Gives] = "dense"

    def __post_init__(self) -> None:
        if min(self.group, self.iterations) < 1 or min(self.temperature, self.epsilon) <= 0:
            raise BadInput(f"group and iterations must be at least 1, temperature and epsilon above 0: {self}")

    def __call__(self, study: Study) -> Tensor:
        """cost_N: each position's row of the plan."""
        signal = study.signal
        assert signal is not None

        def costs(rows: slice) -> Tensor:
            p, q, label_X = signal.law(rows).beside(study.student.logp(rows), study.at.label_N[rows])
            return self.costs(study.target(p, q.detach(), label_X), q)

        return over(self.groups(study.at.row_N), costs)

    def groups(self, row_N: Tensor) -> list[slice]:
        """Runs of at most `group` positions of one text."""
        found, first = [], 0
        for _, run in groupby(row_N.tolist()):  # sync: where a text ends decides what is carried together
            end = first + len(list(run))
            found += [slice(start, min(start + self.group, end)) for start in range(first, end, self.group)]
            first = end
        return found

    def costs(self, p_logp_GV: Tensor, q_logp_GV: Tensor) -> Tensor:
        """cost_G of one group."""
        p, q = ((logp_GV / self.temperature).softmax(-1) for logp_GV in (p_logp_GV, q_logp_GV))
        cost_G = self._carried(q, p)
        return cost_G - (self._carried(q, q) + self._carried(p, p)) / 2 if self.debiased else cost_G

    def _carried(self, one_GV: Tensor, other_GV: Tensor) -> Tensor:
        far_GG = torch.cdist(one_GV, other_GV, p=1)
        plan_GG = -far_GG / self.epsilon  # logarithms: exp(-2 / epsilon) is too small for half precision
        for _ in range(self.iterations):
            plan_GG = plan_GG.log_softmax(1).log_softmax(0)
        return (plan_GG.exp() * far_GG).sum(1)
