"""The teacher's law, from the first step to the last."""

from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True, slots=True)
class Constant:
    """The target is the teacher."""

    def start(self) -> None:
        """Nothing is remembered."""

    def target(self, state: None, p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """p_logp_XV."""
        return p_logp_XV

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
