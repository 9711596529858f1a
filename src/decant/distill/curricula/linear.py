"""The target goes from the student's own law to the teacher's in a straight line of the step: TAID without adaptation.

Both are mixed in logit space.
Source: Shing et al. 2025, arXiv:2501.16937.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class Linear:
    """first, last: the teacher's share at the first and at the last step. until: the share of the run after which it
    stays at `last`."""

    first: float = 0.4
    last: float = 1.0
    until: float = 1.0

    def __post_init__(self) -> None:
        if not (0 <= self.first <= 1 and 0 <= self.last <= 1 and 0 < self.until <= 1):
            raise BadInput(f"first and last lie in [0, 1], until in (0, 1]: {self}")

    def start(self) -> dict[str, float]:
        """t: the teacher's share."""
        return {"t": self.first}

    def target(self, state: dict[str, float], p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """softmax((1 - t) z_q + t z_p)."""
        t = state["t"]
        return ((1 - t) * floored(q_logp_XV) + t * floored(p_logp_XV)).log_softmax(-1)

    def observe(self, state: dict[str, float], step: int, steps: int, nats: float) -> dict[str, float]:
        """One step further."""
        done = min(1.0, (step + 1) / max(1.0, (steps - 1) * self.until))
        return {"t": self.first + (self.last - self.first) * done}
