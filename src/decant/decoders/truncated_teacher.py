"""The teacher for the first units of an image, all the rest at once: the baseline of few-step decoders.

Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1: why it must fail).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.decoders.marginal import Marginal, MarginalState
from decant.errors import BadInput
from decant.images.marginals import Marginals, drawn
from decant.images.seams import AnyTeacher
from decant.noise import Noise
from decant.types import Step


@final
@dataclass(frozen=True, slots=True)
class TruncatedTeacher:
    """units: that the teacher settles, one forward each; the rest comes from the marginals, as by one forward more.

    Raises BadInput for more units than an image has.
    """

    teacher: AnyTeacher
    marginals: Marginals
    units: int = 2

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.units < self.teacher.layout.units:
            raise BadInput(
                f"truncated-teacher stops after 0 to {self.teacher.layout.units - 1} units of this teacher's "
                f"{self.teacher.layout.units}, got {self.units}"
            )

    @property
    def forwards(self) -> int:
        """Of the teacher, and one for the rest."""
        return self.units + 1

    def start(self, prompt_BT: Tensor, noise: Noise) -> MarginalState:
        """Nothing is settled."""
        return Marginal(self.marginals).start(prompt_BT, noise)

    def step(self, state: MarginalState) -> tuple[MarginalState, Step]:
        """All of it."""
        _, step = Marginal(self.marginals).step(state)
        first_BL = drawn(self.teacher, state.labels_B, state.noise, self.units)
        ids_BL = torch.cat([first_BL, step.tokens_BC[:, first_BL.shape[1] :]], dim=1)
        return replace(state, vectors_BLC=self.marginals.codes_VC[ids_BL]), replace(step, tokens_BC=ids_BL)
