"""Dual-space distillation (DSKD): states are moved into the other model's space, so that one head says both laws.

Teacher to student: the teacher's states, moved by a matrix, speak through the student's head, which stays as it is;
the matrix learns the text's own tokens, and the student learns what is said. Student to teacher: the student's states,
moved by a second matrix, speak through the teacher's head and learn the teacher's law. The models share a vocabulary
here: the paper's attention between tokens of two tokenizers is not part of this. A curriculum does not reach it.
Beside it the paper asks for `CrossEntropy`, each with share 0.5, and teaches the matrices at twice the student's rate.
Source: Zhang et al. 2024, arXiv:2406.17328.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor, nn

from decant.distill.seams import Divergence, Gives, Study, by_chunks
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class DualSpace:
    """divergence: between the student and the moved teacher. temperature: of both laws; nats are not multiplied by its
    square. Raises BadInput for a temperature of 0 or less."""

    divergence: Divergence
    temperature: float = 2.0

    needs: ClassVar[Gives] = "states"

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise BadInput(f"temperature must be above 0, got {self.temperature}")

    def extra(self, student: Any, teacher: Any) -> nn.Module:
        """The two matrices."""
        to_student = nn.Linear(teacher.hidden_size, student.hidden_size)
        return nn.ModuleDict({"t2s": to_student, "s2t": nn.Linear(student.hidden_size, teacher.hidden_size)})

    def __call__(self, study: Study) -> Tensor:
        """nats_N: the moved teacher from the text, the student from it, and the moved student from the teacher."""
        student, teacher, moves = study.student, study.teacher, study.extra
        assert isinstance(moves, nn.ModuleDict)
        fixed = student.fixed
        assert fixed is not None
        label_N1 = study.at.label_N[:, None]

        def law(logits_XV: Tensor, temperature: float = self.temperature) -> Tensor:
            return (logits_XV.float() / temperature).log_softmax(-1)

        def nats(rows: slice) -> Tensor:
            own_XD, other_XD = student.hidden_ND[rows].float(), teacher.hidden_ND[rows].float()
            said_XV = fixed(moves["t2s"](other_XD))
            told_X = -law(said_XV, 1.0).gather(-1, label_N1[rows])[:, 0]
            learnt_X = self.divergence(law(said_XV.detach()), law(student.head(student.hidden_ND[rows])))
            p, q = law(teacher.head(teacher.hidden_ND[rows])), law(teacher.head(moves["s2t"](own_XD)))
            return told_X + learnt_X + (p.exp() * (p - q)).sum(-1)

        return by_chunks(len(study.at), 2 * (student.vocab + teacher.vocab), nats)
