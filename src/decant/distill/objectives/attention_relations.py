"""Attention relations (MiniLM): how queries, keys and values of a text lie to each other, in one layer.

The relation of a position is a law over what it sees: softmax of the products of its own vector with those of the
tokens up to it, itself included. Prompts are seen; padding never is. Heads laid side by side are cut anew into a common
number of relation heads, so that neither widths nor numbers of heads need agree. Vectors are compared as they are
projected, before rotation: so the first version's attention law (queries against keys) is not among the relations.
From memory: that the three relations weigh alike, and the paper's numbers of heads.
Source: Wang et al. 2020, arXiv:2002.10957; Wang et al. 2021, arXiv:2012.15828 (the second version, which this is).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput
from decant.models.student import Looks
from decant.numerics import floored

Pair = tuple[Tensor, Tensor]
"""Vectors of one kind, of teacher and student, cut into relation heads: p_ATF and q_ATF."""


@final
@dataclass(frozen=True, slots=True)
class AttentionRelations:
    """layer: of the student; teacher_layer: of the teacher; both counted from 0, or from the end below 0.

    heads:     relation heads; the paper takes 48 or 64. The width of what is compared must be a multiple in both models
               (keys and values are narrow where heads share them).
    relations: which of queries, keys and values.
    Raises BadInput for a knob out of range, and for heads that do not divide a width.
    """

    layer: int = -1
    teacher_layer: int = -1
    heads: int = 16
    relations: str = "qkv"

    needs: ClassVar[Gives] = "states"

    def __post_init__(self) -> None:
        if self.heads < 1 or not self.relations or set(self.relations) - set("qkv"):
            raise BadInput(f"AttentionRelations needs heads >= 1 and relations out of the letters qkv, got {self}")

    @property
    def looks(self) -> Looks:
        """Of the student."""
        return Looks(attention=(self.layer,))

    @property
    def teacher_looks(self) -> Looks:
        """Of the teacher."""
        return Looks(attention=(self.teacher_layer,))

    def __call__(self, study: Study) -> Tensor:
        """nats_N: KL(teacher's relation || student's), averaged over relations and heads."""
        return torch.cat([self._text(study, *text) for text in study.at.texts()])

    def _text(self, study: Study, row: int, rows: slice, reach: int) -> Tensor:
        """nats_X of one text, which is read over its first `reach` tokens."""
        kinds = ["qkv".index(letter) for letter in self.relations]
        own, other = study.student.attention[self.layer], study.teacher.attention[self.teacher_layer]
        pairs = [(self._cut(other[kind][row, :reach]), self._cut(own[kind][row, :reach])) for kind in kinds]
        at_X = study.at.at_N[rows]

        def nats(part: slice) -> Tensor:
            return torch.stack([_apart(pair, at_X[part]) for pair in pairs]).mean(0)

        return by_chunks(len(at_X), reach * self.heads * len(pairs), nats)

    def _cut(self, vectors_TF: Tensor) -> Tensor:
        """A relation head first."""
        width = vectors_TF.shape[-1]
        if width % self.heads:
            raise BadInput(
                f"{self.heads} relation heads do not divide {width} channels; give a number that divides those of "
                "queries, keys and values in both models"
            )
        return vectors_TF.float().unflatten(-1, (self.heads, -1)).transpose(0, 1)


def _apart(pair: Pair, at_X: Tensor) -> Tensor:
    """nats_X: how far the relations of these positions are apart, averaged over heads."""
    p, q = (floored(_relation(vectors_ATF, at_X)) for vectors_ATF in pair)
    return (p.exp() * (p - q)).sum(-1).mean(0)


def _relation(vectors_ATF: Tensor, at_X: Tensor) -> Tensor:
    """logp_AXT over the tokens up to each position."""
    scores_AXT = vectors_ATF[:, at_X] @ vectors_ATF.transpose(1, 2) / vectors_ATF.shape[-1] ** 0.5
    seen_XT = torch.arange(vectors_ATF.shape[1], device=at_X.device) <= at_X[:, None]
    return scores_AXT.masked_fill(~seen_XT, -torch.inf).log_softmax(-1)
