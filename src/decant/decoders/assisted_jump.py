"""A student jumps, its teacher settles a few units again, the student jumps on from there.

The teacher's units follow its law behind what the student said before them: every unit more is a pass more and brings
the image nearer to the teacher's. They flow from the noise of their own places, which is a draw like any other, so that
with all units the image is the one that the teacher makes of this noise.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1; its "pre-trained-n-m").
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.decoders.jump import JumpState, begun, told
from decant.errors import BadInput, IncompatibleParts
from decant.images.jumping import JumpStudent, flowed_unit, onward
from decant.images.seams import AnyTeacher
from decant.noise import Noise
from decant.types import Step


@final
@dataclass(frozen=True, slots=True)
class AssistedJump:
    """first, last: the teacher settles units first ... last - 1, counted from 0. None: the one unit before the second
    state that the student was taught on.

    Raises BadInput unless 0 <= first < last and the student was taught to go on from `last`, or nothing is left.
    """

    jump: JumpStudent
    teacher: AnyTeacher
    first: int | None = None
    last: int | None = None

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        ends = (*self.jump.steps[1:], self.jump.layout.units)
        if not 0 <= self.begins < self.ends or self.ends not in ends:
            raise BadInput(
                f"the teacher settles units first ... last - 1 with 0 <= first < last, and this student goes on from "
                f"last = {' or '.join(map(str, ends))}; got first {self.begins}, last {self.ends}"
            )
        if self.teacher.layout != self.jump.layout:
            raise IncompatibleParts(
                f"the teacher's units have sides {self.teacher.layout.sides} and the student's "
                f"{self.jump.layout.sides}; take the student's own teacher"
            )

    @property
    def ends(self) -> int:
        """`last`, or its default."""
        return (*self.jump.steps[1:], self.jump.layout.units)[0] if self.last is None else self.last

    @property
    def begins(self) -> int:
        """`first`, or its default."""
        return self.ends - 1 if self.first is None else self.first

    @property
    def forwards(self) -> int:
        """Passes of a network for one image; where the teacher begins or ends it, the student is not asked there."""
        return (self.begins > 0) + self.ends - self.begins + (self.ends < self.jump.layout.units)

    def start(self, prompt_BT: Tensor, noise: Noise) -> JumpState:
        """All places are noise. Raises BadInput for a prompt that does not end with a class."""
        return begun(self.jump, prompt_BT, noise)

    def step(self, state: JumpState) -> tuple[JumpState, Step]:
        """One pass, of the student or of the teacher. Raises IncompatibleParts for requests that did not begin
        together."""
        turn = int(state.turn_B[0])  # sync: which network is asked
        if bool((state.turn_B != turn).any()):  # sync: with it
            raise IncompatibleParts("images that a teacher helps with begin together; ask for them in one batch")
        taught = range(self.begins, self.ends)
        edges = [*dict.fromkeys([0, *taught, self.ends, self.jump.layout.units])]
        units_B = torch.full_like(state.labels_B, edges[turn])
        if edges[turn] in taught:
            vectors_BLC, ids_BL = self._taught(state, edges[turn])
        else:
            vectors_BLC, ids_BL = onward(self.jump, state.labels_B, (state.vectors_BLC, state.eps_BLC), units_B)
        after = replace(state, vectors_BLC=vectors_BLC, ids_BL=ids_BL, turn_B=state.turn_B + 1)
        return after, told(ids_BL, units_B, torch.full_like(units_B, edges[turn + 1]), self.jump)

    def _taught(self, state: JumpState, unit: int) -> tuple[Tensor, Tensor]:
        """vectors_BLC and ids_BL with one more unit from the flow under the teacher's law. What lies before it is
        snapped to codes: the teacher reads codes, and so does what comes next."""
        part = self.jump.layout.span(unit)
        ids_BL = state.ids_BL.clone()
        vectors_BLC = state.vectors_BLC.clone()
        vectors_BLC[:, : part.start] = self.jump.codes_VC[ids_BL[:, : part.start]]
        logp_BKV = self.teacher.laws(state.labels_B, vectors_BLC)[:, part]
        ids_BL[:, part] = flowed_unit(logp_BKV, state.eps_BLC[:, part], self.teacher.codes_VC)
        vectors_BLC[:, part] = self.jump.codes_VC[ids_BL[:, part]]
        return vectors_BLC, ids_BL
