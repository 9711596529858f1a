"""A whole scale a step: the teacher says the laws of all its places at once, and each place draws for itself.

Any `ImageTeacher` will do; one in raster order gives a place a step.
Source: Tian et al. 2024, arXiv:2404.02905 (VAR).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.images.prompts import labels_of
from decant.images.seams import AnyTeacher
from decant.noise import Noise
from decant.types import Step


@final
@dataclass(frozen=True, slots=True, eq=False)
class NextScaleState:
    """settling: the teacher's own. vectors_BLC: codes of the scales so far. All requests stand at the same scale."""

    settling: Any
    vectors_BLC: Tensor
    unit: int
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class NextScale:
    """Plain sampling of a teacher, a unit a step."""

    teacher: AnyTeacher

    exact: ClassVar[bool] = True

    @property
    def forwards(self) -> int:
        """Passes of the teacher for one image."""
        return self.teacher.layout.units

    def start(self, prompt_BT: Tensor, noise: Noise) -> NextScaleState:
        """Nothing is settled. Raises BadInput for a prompt that does not end with a class (`images/prompts.py`)."""
        codes_VC = self.teacher.codes_VC
        labels_B = labels_of(prompt_BT, len(codes_VC))
        if bool(((labels_B < 0) | (labels_B > self.teacher.classes)).any()):  # sync: a wrong prompt is refused
            raise BadInput(
                f"an image is asked for by its class, one of the ids {len(codes_VC)} ... "
                f"{len(codes_VC) + self.teacher.classes - 1}, or without one by the id behind them; the prompts end "
                f"with {prompt_BT[:, -1].tolist()}"
            )
        none_B0C = codes_VC.new_zeros(len(labels_B), 0, codes_VC.shape[1])
        return NextScaleState(self.teacher.start(labels_B), none_B0C, 0, noise)

    def step(self, state: NextScaleState) -> tuple[NextScaleState, Step]:
        """One scale of every request. Raises BadInput behind the last."""
        layout = self.teacher.layout
        if state.unit == layout.units:
            raise BadInput(f"an image has {layout.units} units, and all are settled; stop after {layout.places} tokens")
        span = layout.span(state.unit)
        place_BK = torch.arange(span.start, span.stop, device=state.vectors_BLC.device).expand(
            len(state.vectors_BLC), -1
        )
        ids_BK = state.noise.draw(self.teacher.law(state.settling).exp(), place_BK)
        vectors_BLC = torch.cat([state.vectors_BLC, self.teacher.codes_VC[ids_BK]], dim=1)
        after = NextScaleState(self.teacher.follow(state.settling, ids_BK), vectors_BLC, state.unit + 1, state.noise)
        return after, Step(ids_BK, place_BK, torch.zeros_like(ids_BK, dtype=torch.bool))
