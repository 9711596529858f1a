"""One for all (OFA-KD): intermediate states speak through branches of their own, and every branch learns what the
teacher says, the right answer enhanced.

    -sum_c [(p_c + 1[c = label])^epsilon - 1[c = label]] log q_c

At epsilon 1 this is the cross-entropy with the teacher's law; above 1 the label's coefficient grows and the others
shrink, so that they no longer sum to one. The paper's third part is `CrossEntropy` beside this one.
Not as published: there a branch ends in a matrix of its own, as wide as the classes are many; here it ends in the
student's head, which is as wide as the vocabulary and is there already. Branches are dropped in the end.
Source: Hao et al. 2023, arXiv:2310.19444.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput
from decant.models.student import Looks
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class OFA:
    """stages: layers of the student that get a branch; 0 is the embedding.

    epsilon: how much the label is enhanced; the paper has 1 to 1.5.
    kd:      the share of the student's own law. ofa: that of each branch.
    Raises BadInput for a knob out of range.
    """

    stages: tuple[int, ...]
    epsilon: float = 1.0
    kd: float = 1.0
    ofa: float = 1.0

    needs: ClassVar[Gives] = "dense"

    def __post_init__(self) -> None:
        if self.epsilon < 1 or not self.stages or min(self.kd, self.ofa) < 0:
            raise BadInput(f"OFA needs stages, epsilon >= 1, kd >= 0 and ofa >= 0, got {self}")

    @property
    def looks(self) -> Looks:
        """Of the student."""
        return Looks(self.stages)

    def extra(self, student: Any, teacher: Any) -> nn.Module:
        """A branch a stage. It begins as the stage itself, as if the head read it."""
        return nn.ModuleList(_branch(student.hidden_size) for _ in self.stages)

    def __call__(self, study: Study) -> Tensor:
        """nats_N of the student's law and of all branches, with their shares."""
        signal, branches = study.signal, study.extra
        assert signal is not None
        assert isinstance(branches, nn.ModuleList)
        staged = [study.student.layers[stage][study.at.row_N, study.at.at_N] for stage in self.stages]

        def nats(rows: slice) -> Tensor:
            law, label_X = signal.law(rows), study.at.label_N[rows]
            said = [(self.kd, study.student.logp(rows))]
            for branch, hidden_ND in zip(branches, staged, strict=True):
                logits_XV = study.student.head(branch(hidden_ND[rows].float()))
                said.append((self.ofa, logits_XV.float().log_softmax(-1)))
            found = torch.zeros_like(label_X, dtype=torch.float32)
            for share, q_logp_XV in said:
                p, q, best_X = law.beside(q_logp_XV, label_X)
                p = study.target(p, q.detach(), best_X)
                found = found + share * enhanced(p, q, best_X, self.epsilon)
            return found

        return by_chunks(len(study.at), study.student.vocab * (1 + len(staged)), nats)


def enhanced(p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor, epsilon: float) -> Tensor:
    """nats_X: the loss of one law; not zero where the laws are the same."""
    label_XV = functional.one_hot(label_X, p_logp_XV.shape[-1])
    aim_XV = (p_logp_XV.exp() + label_XV) ** epsilon - label_XV
    return -(aim_XV * floored(q_logp_XV)).sum(-1)


def _branch(width: int) -> nn.Module:
    matrix = nn.Linear(width, width, bias=False)
    nn.init.eye_(matrix.weight)
    return nn.Sequential(nn.RMSNorm(width), matrix)
