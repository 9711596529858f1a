"""Every token alike."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.distill.seams import Study


@final
@dataclass(frozen=True, slots=True)
class Every:
    """Factor one."""

    def start(self) -> None:
        """Nothing is remembered."""

    def weights(self, state: None, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N."""
        return torch.ones_like(nats_N)

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
