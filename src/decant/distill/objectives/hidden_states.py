"""Hidden states: the student's layers say what the teacher's say, through a matrix of its own where widths differ.

Which layers, and which distance, is from memory. Mean squares are small numbers, not nats; the share in the sum is the
user's.
Source: Romero et al. 2015, arXiv:1412.6550 (the projector); Sanh et al. 2019, arXiv:1910.01108 (cosine); Su et al.
2021, arXiv:2106.02241 (layers mapped evenly).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from decant.distill.seams import Gives, Study
from decant.errors import BadInput
from decant.models.student import Looks


@final
@dataclass(frozen=True, slots=True)
class HiddenStates:
    """pairs: (a layer of the student, the teacher's that it learns from); 0 is the embedding, -1 the last.

    distance: the mean square over channels, or 1 - cosine, which does not know how long a state is.
    Raises BadInput for no pairs or another distance.
    """

    pairs: tuple[tuple[int, int], ...] = ((-1, -1),)
    distance: Literal["mse", "cosine"] = "mse"

    needs: ClassVar[Gives] = "states"

    def __post_init__(self) -> None:
        if not self.pairs or self.distance not in ("mse", "cosine"):
            raise BadInput(f"HiddenStates needs pairs of layers and the distance mse or cosine, got {self}")

    @staticmethod
    def evenly(student: int, teacher: int) -> tuple[tuple[int, int], ...]:
        """pairs: each layer of a student of so many layers with the teacher's at the same share of its depth."""
        return tuple((layer, round(layer * teacher / student)) for layer in range(1, student + 1))

    @property
    def looks(self) -> Looks:
        """Of the student."""
        return Looks(tuple(own for own, _ in self.pairs))

    @property
    def teacher_looks(self) -> Looks:
        """Of the teacher."""
        return Looks(tuple(other for _, other in self.pairs))

    def extra(self, student: Any, teacher: Any) -> nn.Module | None:
        """A matrix for each pair, from the student's width to the teacher's; None where they are the same."""
        if student.hidden_size == teacher.hidden_size:
            return None
        return nn.ModuleList(nn.Linear(student.hidden_size, teacher.hidden_size, bias=False) for _ in self.pairs)

    def __call__(self, study: Study) -> Tensor:
        """The distance at each position, averaged over pairs."""
        row_N, at_N = study.at.row_N, study.at.at_N
        found = []
        for number, (own, other) in enumerate(self.pairs):
            q_ND = study.student.layers[own][row_N, at_N].float()
            p_ND = study.teacher.layers[other][row_N, at_N].float()
            if isinstance(study.extra, nn.ModuleList):
                q_ND = study.extra[number](q_ND)
            if self.distance == "mse":
                found.append((p_ND - q_ND).square().mean(-1))
            else:
                found.append(1 - functional.cosine_similarity(p_ND, q_ND, dim=-1))
        return torch.stack(found).mean(0)
