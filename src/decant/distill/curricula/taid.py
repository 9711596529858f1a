"""Temporally adaptive interpolation: the target goes from the student's own law to the teacher's, faster while the loss
falls.

Both are mixed in logit space. One update an optimiser step, of the loss over all processes. The paper's loss is a
cross-entropy to the target: a KL gives the same gradient but another pace, for its value falls to zero.
Source: Shing et al. 2025, arXiv:2501.16937 (TAID).
"""

import math
from dataclasses import dataclass
from typing import Any, final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class TAID:
    """first, last: the teacher's share t at the start and at the end. alpha: how far t moves in a step, at most.
    beta: how long the momentum of the loss lasts."""

    first: float = 0.4
    last: float = 1.0
    alpha: float = 5e-4
    beta: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last <= 1 or self.alpha < 0 or not 0 <= self.beta < 1:
            raise BadInput(f"0 <= first <= last <= 1, alpha >= 0, 0 <= beta < 1: {self}")

    def start(self) -> dict[str, Any]:
        """t, the momentum, and the loss before."""
        return {"t": self.first, "momentum": 0.0, "before": None}

    def target(self, state: dict[str, Any], p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """softmax((1 - t) z_q + t z_p)."""
        t = state["t"]
        return ((1 - t) * floored(q_logp_XV) + t * floored(p_logp_XV)).log_softmax(-1)

    def observe(self, state: dict[str, Any], step: int, steps: int, nats: float) -> dict[str, Any]:
        """t never falls, and is never behind the straight line; the first loss is only remembered."""
        before = state["before"]
        if before is None:
            return {**state, "before": nats}
        fallen = (before - nats) / (before + 1e-15)
        momentum = self.beta * state["momentum"] + (1 - self.beta) * fallen
        further = self.alpha * (1 - state["t"]) / (1 + math.exp(-max(-700.0, min(700.0, momentum))))
        line = self.first + (self.last - self.first) * (step + 1) / steps
        return {"t": min(self.last, max(line, state["t"] + further)), "momentum": momentum, "before": nats}
