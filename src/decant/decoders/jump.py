"""A whole image in one pass or two: a trained student jumps from noise to where the teacher's flows would end.

Lossy against the teacher. The second pass begins at the first places of what the first one said, and at the same noise
in all others: fresh noise would lead to another image, and the two halves would not belong together.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.images.jumping import JumpStudent, onward
from decant.images.normals import normals
from decant.images.prompts import labels_of
from decant.noise import Noise
from decant.types import PAD, Step


@final
@dataclass(frozen=True, slots=True, eq=False)
class JumpState:
    """turn_B: passes so far. eps_BLC: the noise of every place, which stays. vectors_BLC: the image so far, which need
    not be codes; ids_BL: its nearest."""

    labels_B: Tensor
    eps_BLC: Tensor
    vectors_BLC: Tensor
    ids_BL: Tensor
    turn_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class Jump:
    """calls: passes, each from the next of the states that the student was taught on.

    Raises BadInput for more passes than states.
    """

    jump: JumpStudent
    calls: int = 1

    exact: ClassVar[bool] = False

    @property
    def forwards(self) -> int:
        """Passes of a network for one image."""
        return self.calls

    def __post_init__(self) -> None:
        if not 1 <= self.calls <= len(self.jump.steps):
            raise BadInput(
                f"this student was taught to jump from {len(self.jump.steps)} states; calls lies in 1 ... "
                f"{len(self.jump.steps)}, got {self.calls}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> JumpState:
        """All places are noise. Raises BadInput for a prompt that does not end with a class."""
        return begun(self.jump, prompt_BT, noise)

    def step(self, state: JumpState) -> tuple[JumpState, Step]:
        """One pass. All places of the last pass are final, else those before the next pass begins."""
        ends = torch.tensor([*self.jump.steps[: self.calls], self.jump.layout.units], device=state.turn_B.device)
        units_B, until_B = ends[state.turn_B], ends[state.turn_B + 1]
        known = state.vectors_BLC, state.eps_BLC
        vectors_BLC, ids_BL = onward(self.jump, state.labels_B, known, units_B)
        after = JumpState(state.labels_B, state.eps_BLC, vectors_BLC, ids_BL, state.turn_B + 1)
        return after, told(ids_BL, units_B, until_B, self.jump)


def begun(student: JumpStudent, prompt_BT: Tensor, noise: Noise) -> JumpState:
    """Noise everywhere. Raises BadInput for a prompt that does not end with a class (`images/prompts.py`)."""
    codes, dims = student.codes_VC.shape
    labels_B = labels_of(prompt_BT, codes)
    if bool(((labels_B < 0) | (labels_B >= student.classes)).any()):  # sync: a wrong prompt is refused
        raise BadInput(
            f"an image is asked for by its class, one of the ids {codes} ... {codes + student.classes - 1}; the "
            f"prompts end with {prompt_BT[:, -1].tolist()}"
        )
    eps_BLC = normals(noise, student.layout.places, dims)
    ids_BL = torch.full(eps_BLC.shape[:2], PAD, dtype=torch.int64, device=prompt_BT.device)
    return JumpState(labels_B, eps_BLC, eps_BLC, ids_BL, torch.zeros_like(labels_B))


def told(ids_BL: Tensor, from_B: Tensor, until_B: Tensor, student: JumpStudent) -> Step:
    """The places of some units, as final."""
    unit_L = student.layout.unit_of_L.to(ids_BL.device)
    final_BL = (unit_L >= from_B[:, None]) & (unit_L < until_B[:, None])
    place_L = torch.arange(len(unit_L), device=ids_BL.device)
    return Step(ids_BL.where(final_BL, PAD), place_L.where(final_BL, PAD), final_BL)
