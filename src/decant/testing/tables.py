"""An image of two places and three codes of which everything is known.

Source: the joint law is the product of the table's rows; the product of its marginals is at a total variation of 0.503.
"""

from dataclasses import dataclass, field
from typing import Final, final

import torch
from torch import Tensor

from decant.images.layout import Layout

CODES: Final = ((1.2, 0.0), (-0.6, 1.04), (-0.6, -1.04))
FIRST: Final = ((0.5, 0.3, 0.2), (0.1, 0.3, 0.6))
SECOND: Final = (
    ((0.90, 0.05, 0.05), (0.05, 0.05, 0.90), (0.10, 0.80, 0.10)),
    ((0.05, 0.90, 0.05), (0.80, 0.10, 0.10), (0.05, 0.05, 0.90)),
)


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableTeacher:
    """An `ImageTeacher` of two classes, whose state is what is settled.

    A vector that is no code counts as a mixture of the codes that it resembles; sharpness: how soon the nearest one is
    all there is.
    """

    codes_VC: Tensor = field(default_factory=lambda: torch.tensor(CODES))
    sharpness: float = 16.0
    layout: Layout = field(default_factory=lambda: Layout((1, 1), 2))
    classes: int = 2

    def start(self, labels_B: Tensor) -> tuple[Tensor, Tensor]:
        """labels_B and no ids."""
        return labels_B, labels_B.new_empty(len(labels_B), 0)

    def law(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """logp_BKV of the next place; K is 1."""
        labels_B, ids_BL = state
        if ids_BL.shape[1] == 0:
            return torch.tensor(FIRST)[labels_B].log()[:, None]
        return torch.tensor(SECOND)[labels_B, ids_BL[:, 0]].log()[:, None]

    def follow(self, state: tuple[Tensor, Tensor], ids_BK: Tensor) -> tuple[Tensor, Tensor]:
        """One place more."""
        return state[0], torch.cat([state[1], ids_BK], dim=1)

    def laws(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """logp_BLV."""
        distance_BV = (vectors_BLC[:, 0, None] - self.codes_VC).square().sum(-1)
        mixture_BV = (-self.sharpness * distance_BV).softmax(-1)
        second_BV = (mixture_BV[:, :, None] * torch.tensor(SECOND)[labels_B]).sum(1)
        return torch.stack([torch.tensor(FIRST)[labels_B], second_BV], dim=1).log()

    def joint(self, label: int) -> Tensor:
        """probs_VV of first and second code."""
        return torch.tensor(FIRST)[label][:, None] * torch.tensor(SECOND)[label]

    def carried(self, vectors_BLC: Tensor) -> Tensor:
        """inputs_BLC as an `ImageTokenizer` gives them: the vector before."""
        return torch.cat([torch.zeros_like(vectors_BLC[:, :1]), vectors_BLC[:, :-1]], dim=1)
