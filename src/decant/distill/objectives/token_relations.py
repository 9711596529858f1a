"""Token relations (TRG): which tokens of a text are alike, and how like its mean each of them is.

A row of the graph is a law over the other positions that count: softmax of cosines over a temperature. Nothing changes
when either model's states are rotated, and widths need not agree.
Reconstructed from memory of the paper, and not as published: tokens are compared within their own text, not across a
batch of images, so that the size of micro-batches does not matter; so the text's mean stands in for the class token.
Source: Zhang et al. 2023, arXiv:2306.12442.
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput
from decant.models.student import Looks
from decant.numerics import FLOOR


@final
@dataclass(frozen=True, slots=True)
class TokenRelations:
    """layer, teacher_layer: whose states; 0 is the embedding, -1 the last.

    temperature: of the cosines. tokens: a position is compared with at most so many of its text, evenly spaced, others
                 in the next step. neighbours: of these, the teacher's nearest alone; None: all.
    contextual:  the share of the second law, that of each text's tokens beside their mean.
    Raises BadInput for a knob out of range.
    """

    layer: int = -1
    teacher_layer: int = -1
    temperature: float = 0.1
    tokens: int = 256
    neighbours: int | None = 16
    contextual: float = 1.0

    needs: ClassVar[Gives] = "states"

    def __post_init__(self) -> None:
        counts = self.tokens, 2 if self.neighbours is None else self.neighbours
        if self.temperature <= 0 or min(counts) < 2 or self.contextual < 0:
            raise BadInput(
                f"TokenRelations needs temperature > 0, tokens and neighbours >= 2 and contextual >= 0, got {self}"
            )

    @property
    def looks(self) -> Looks:
        """Of the student."""
        return Looks((self.layer,))

    @property
    def teacher_looks(self) -> Looks:
        """Of the teacher."""
        return Looks((self.teacher_layer,))

    def __call__(self, study: Study) -> Tensor:
        """nats_N: each position's row of the graph, and its text's law beside the mean."""
        return torch.cat([self._text(study, row, rows) for row, rows, _ in study.at.texts()])

    def _text(self, study: Study, row: int, rows: slice) -> Tensor:
        """nats_X of one text."""
        at_X = study.at.at_N[rows]
        p_XD = study.teacher.layers[self.teacher_layer][row, at_X].float()
        q_XD = study.student.layers[self.layer][row, at_X].float()
        stride = -(-len(at_X) // self.tokens)
        columns_C = torch.arange(study.step % stride, len(at_X), stride, device=at_X.device)
        rows_X = torch.arange(len(at_X), device=at_X.device)

        def nats(part: slice) -> Tensor:
            self_XC = rows_X[part, None] == columns_C
            # Not -inf: the only token of a text has nobody beside itself, and is as far from nobody in both models.
            p_XC, q_XC = (self._cosines(one[part], one[columns_C]).masked_fill(self_XC, FLOOR) for one in (p_XD, q_XD))
            if self.neighbours is not None:
                p_XC, near_XC = p_XC.topk(min(self.neighbours, len(columns_C)))
                q_XC = q_XC.gather(-1, near_XC)
            return _apart(p_XC, q_XC)

        graph_X = by_chunks(len(at_X), len(columns_C), nats)
        p_X, q_X = (self._cosines(one.mean(0, keepdim=True), one)[0] for one in (p_XD, q_XD))
        return graph_X + self.contextual * _apart(p_X, q_X)

    def _cosines(self, rows_XD: Tensor, columns_CD: Tensor) -> Tensor:
        """Over the temperature."""
        return functional.normalize(rows_XD, dim=-1) @ functional.normalize(columns_CD, dim=-1).T / self.temperature


def _apart(p_scores_XC: Tensor, q_scores_XC: Tensor) -> Tensor:
    """nats_X: KL between what the scores say."""
    p, q = p_scores_XC.log_softmax(-1), q_scores_XC.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
