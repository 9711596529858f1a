"""A student says the whole image, its teacher samples the last units anew, one pass each.

The teacher reads codes: what it samples follows its law behind the codes nearest to what the student said. With all
units but the first, only that one is the student's.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2: more steps for better images).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.decoders.one_pass import OnePassState, begun, drawn, told
from decant.errors import BadInput, IncompatibleParts
from decant.images.scoring import OnePassStudent
from decant.images.seams import AnyTeacher
from decant.noise import Noise
from decant.types import Step


@final
@dataclass(frozen=True, slots=True)
class ResampledTail:
    """units: the last, that the teacher samples.

    Raises BadInput unless the student keeps a unit and the teacher gets one, IncompatibleParts for a teacher of another
    layout.
    """

    student: OnePassStudent
    teacher: AnyTeacher
    units: int = 1

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        layout = self.student.layout
        if not 1 <= self.units < layout.units:
            raise BadInput(f"the teacher samples 1 ... {layout.units - 1} of {layout.units} units, got {self.units}")
        if self.teacher.layout != layout:
            raise IncompatibleParts(
                f"the teacher's units have sides {self.teacher.layout.sides} and the student's {layout.sides}; take "
                f"the student's own teacher"
            )

    @property
    def forwards(self) -> int:
        """The student's pass, and one of the teacher a unit."""
        return 1 + self.units

    def start(self, prompt_BT: Tensor, noise: Noise) -> OnePassState:
        """All places are noise. Raises BadInput for a prompt that does not end with a class."""
        return begun(self.student, prompt_BT, noise)

    def step(self, state: OnePassState) -> tuple[OnePassState, Step]:
        """All units that are the student's, then one of the teacher's a step. Raises IncompatibleParts for requests
        that did not begin together."""
        unit = int(state.units_B[0])  # sync: which network is asked
        if bool((state.units_B != unit).any()):  # sync: with it
            raise IncompatibleParts("images that a teacher helps with begin together; ask for them in one batch")
        if unit == 0:
            return told(drawn(self.student, state), self.student.layout.units - self.units, self.student)
        return told(self._sampled(state, unit), unit + 1, self.student)

    def _sampled(self, state: OnePassState, unit: int) -> OnePassState:
        """The draw of a place is the one that plain decoding would make there under this law."""
        codes_VC, span = self.student.codes_VC, self.student.layout.span(unit)
        logp_BKV = self.teacher.laws(state.labels_B, codes_VC[state.ids_BL])[:, span]
        place_BK = torch.arange(span.start, span.stop, device=codes_VC.device).expand(len(state.ids_BL), -1)
        ids_BL, vectors_BLC = state.ids_BL.clone(), state.vectors_BLC.clone()
        ids_BL[:, span] = state.noise.draw(logp_BKV.exp(), place_BK)
        vectors_BLC[:, span] = codes_VC[ids_BL[:, span]]
        return replace(state, ids_BL=ids_BL, vectors_BLC=vectors_BLC)
