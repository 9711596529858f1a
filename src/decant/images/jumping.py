"""What a student of Distilled Decoding 1 reads, and what becomes of what it says.

Units are counted from 0: a state that has `u` settled units holds codes in units 0 ... u - 1 and noise from unit u on.
The first state is all noise. Whatever follows a state is a function of it, which is what the student learns.
Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1).
"""

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from decant.images.flow import STEPS, flow_map, nearest
from decant.images.layout import Layout
from decant.images.seams import AnyTeacher


@final
@dataclass(frozen=True, slots=True, eq=False)
class Jumped:
    """What a student says of every place in one pass: the code, logits_BLV, and a vector that need not be one."""

    logits_BLV: Tensor
    vectors_BLC: Tensor


class JumpStudent(Protocol):
    """A network that jumps from a state to the image.

    classes: labels are 0 ... classes - 1. steps: settled units of the states that it was taught on, ascending from 0.
    split: units whose codes are read off the logits; vectors are of the rest.
    """

    @property
    def layout(self) -> Layout: ...

    @property
    def codes_VC(self) -> Tensor: ...

    @property
    def classes(self) -> int: ...

    @property
    def steps(self) -> tuple[int, ...]: ...

    @property
    def split(self) -> int: ...

    def jump(self, labels_B: Tensor, vectors_BLC: Tensor, flags_BL: Tensor) -> Jumped:
        """One pass. flags_BL: 1 where a vector is settled, 0 where it is noise, int64. Place i is told from the class,
        vectors of earlier units, and vector i."""
        ...


def settled_flags(units_B: Tensor, layout: Layout) -> Tensor:
    """flags_BL, int64: 1 in the first units, so many of each request."""
    return (layout.unit_of_L.to(units_B.device) < units_B[:, None]).long()


def spliced(vectors_BLC: Tensor, eps_BLC: Tensor, flags_BL: Tensor) -> Tensor:
    """A state: vectors where they are settled, elsewhere the noise that was there from the beginning."""
    return torch.where(flags_BL[..., None] == 1, vectors_BLC, eps_BLC)


def compose(jumped: Jumped, state_BLC: Tensor, flags_BL: Tensor, student: JumpStudent) -> tuple[Tensor, Tensor]:
    """vectors_BLC and ids_BL of the image: settled vectors bit for bit; the likeliest codes in the first `split` units;
    in the rest the vectors themselves, whose ids are the nearest codes."""
    codes_VC = student.codes_VC
    coded_L = student.layout.unit_of_L.to(flags_BL.device) < student.split
    likeliest_BL = jumped.logits_BLV.argmax(-1)
    said_BLC = torch.where(coded_L[:, None], codes_VC[likeliest_BL], jumped.vectors_BLC)
    vectors_BLC = torch.where(flags_BL[..., None] == 1, state_BLC, said_BLC)
    snapped_BL = nearest(vectors_BLC, codes_VC)
    # Of two equal codes the logits know which one was meant.
    return vectors_BLC, torch.where(coded_L & (flags_BL == 0), likeliest_BL, snapped_BL)


def onward(
    student: JumpStudent, labels_B: Tensor, known: tuple[Tensor, Tensor], units_B: Tensor
) -> tuple[Tensor, Tensor]:
    """One pass from a state: vectors_BLC and ids_BL of the image. known: vectors_BLC, of which the first `units` count,
    and the noise that the request began with, eps_BLC."""
    flags_BL = settled_flags(units_B, student.layout)
    state_BLC = spliced(*known, flags_BL)
    return compose(student.jump(labels_B, state_BLC, flags_BL), state_BLC, flags_BL, student)


def jumped(student: JumpStudent, labels_B: Tensor, eps_BLC: Tensor, calls: int = 1) -> tuple[Tensor, Tensor]:
    """vectors_BLC and ids_BL of the image after so many passes, from the first `calls` of the student's steps."""
    vectors_BLC, ids_BL = eps_BLC, labels_B
    for units in student.steps[:calls]:
        units_B = torch.full_like(labels_B, units)
        vectors_BLC, ids_BL = onward(student, labels_B, (vectors_BLC, eps_BLC), units_B)
    return vectors_BLC, ids_BL


def flowed(teacher: AnyTeacher, labels_B: Tensor, eps_BLC: Tensor, steps: int = STEPS) -> Tensor:
    """ids_BL: the image that the teacher makes of this noise, each place by the flow under its law. No gradients."""
    layout, drawn = teacher.layout, []
    with torch.no_grad():
        state = teacher.start(labels_B)
        for unit in range(layout.units):
            drawn.append(flowed_unit(teacher.law(state), eps_BLC[:, layout.span(unit)], teacher.codes_VC, steps))
            if unit < layout.units - 1:
                state = teacher.follow(state, drawn[-1])
    return torch.cat(drawn, dim=1)


def flowed_unit(logp_BKV: Tensor, eps_BKC: Tensor, codes_VC: Tensor, steps: int = STEPS) -> Tensor:
    """ids_BK of one unit, whose places follow the same laws apart."""
    ids_X = flow_map(eps_BKC.flatten(0, 1), logp_BKV.flatten(0, 1).float(), codes_VC, steps)
    return ids_X.view(eps_BKC.shape[:2])
