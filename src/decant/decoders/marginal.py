"""All places of an image in one step, each by its law behind the class alone: the baseline of one-step decoders.

Source: Liu et al. 2024, arXiv:2412.17153 (Distilled Decoding 1: why it must fail).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.images.marginals import Marginals
from decant.images.prompts import labels_of
from decant.noise import Noise
from decant.types import Step


@final
@dataclass(frozen=True, slots=True, eq=False)
class MarginalState:
    """vectors_BLC: codes of the image, 0 before the step."""

    labels_B: Tensor
    vectors_BLC: Tensor
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class Marginal:
    """marginals: of the teacher, whose law this keeps place by place and nowhere else."""

    marginals: Marginals

    exact: ClassVar[bool] = False

    @property
    def forwards(self) -> int:
        """Passes of the network that the table stands for."""
        return 1

    def start(self, prompt_BT: Tensor, noise: Noise) -> MarginalState:
        """Nothing is settled."""
        codes_VC, places = self.marginals.codes_VC, self.marginals.probs_YLV.shape[1]
        labels_B = labels_of(prompt_BT, len(codes_VC))
        return MarginalState(labels_B, codes_VC.new_zeros(len(labels_B), places, codes_VC.shape[1]), noise)

    def step(self, state: MarginalState) -> tuple[MarginalState, Step]:
        """All of it."""
        probs_BLV = self.marginals.of(state.labels_B)
        place_BL = torch.arange(probs_BLV.shape[1], device=probs_BLV.device).expand(len(probs_BLV), -1)
        ids_BL = state.noise.draw(probs_BLV, place_BL)
        step = Step(ids_BL, place_BL, torch.zeros_like(ids_BL, dtype=torch.bool))
        return replace(state, vectors_BLC=self.marginals.codes_VC[ids_BL]), step
