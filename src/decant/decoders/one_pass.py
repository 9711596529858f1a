"""A whole image in one pass: a trained student says a vector for every place.

Lossy against the teacher. A vector need not be a code: the state keeps the vectors as they came, tokens are the nearest
codes.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.images.flow import nearest
from decant.images.normals import normals
from decant.images.prompts import labels_of
from decant.images.scoring import OnePassStudent
from decant.noise import Noise
from decant.types import PAD, Step


@final
@dataclass(frozen=True, slots=True, eq=False)
class OnePassState:
    """vectors_BLC: the noise before the pass, the image behind it, which need not be codes; ids_BL: its nearest, PAD
    before. units_B: how many units are final. noise: of the requests."""

    labels_B: Tensor
    vectors_BLC: Tensor
    ids_BL: Tensor
    units_B: Tensor
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class OnePass:
    """student: a generator that was taught beside the teacher."""

    student: OnePassStudent

    exact: ClassVar[bool] = False

    @property
    def forwards(self) -> int:
        """Passes of a network for one image."""
        return 1

    def start(self, prompt_BT: Tensor, noise: Noise) -> OnePassState:
        """All places are noise. Raises BadInput for a prompt that does not end with a class."""
        return begun(self.student, prompt_BT, noise)

    def step(self, state: OnePassState) -> tuple[OnePassState, Step]:
        """All of it."""
        units = self.student.layout.units
        return told(drawn(self.student, state), units, self.student)


def begun(student: OnePassStudent, prompt_BT: Tensor, noise: Noise) -> OnePassState:
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
    return OnePassState(labels_B, eps_BLC, ids_BL, torch.zeros_like(labels_B), noise)


def drawn(student: OnePassStudent, state: OnePassState) -> OnePassState:
    """The image; no unit of it is final yet."""
    vectors_BLC = student.draw(state.labels_B, state.vectors_BLC)
    ids_BL = nearest(vectors_BLC, student.codes_VC)
    return OnePassState(state.labels_B, vectors_BLC, ids_BL, state.units_B, state.noise)


def told(state: OnePassState, until: int, student: OnePassStudent) -> tuple[OnePassState, Step]:
    """Units up to `until` are final."""
    unit_L = student.layout.unit_of_L.to(state.ids_BL.device)
    final_BL = (unit_L >= state.units_B[:, None]) & (unit_L < until)
    place_L = torch.arange(len(unit_L), device=state.ids_BL.device)
    step = Step(state.ids_BL.where(final_BL, PAD), place_L.where(final_BL, PAD), final_BL)
    after = OnePassState(
        state.labels_B, state.vectors_BLC, state.ids_BL, torch.full_like(state.units_B, until), state.noise
    )
    return after, step
