"""No constraint: everything may come next, always.

Source: the neutral element of the Constraint seam.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.types import Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class Unconstrained:
    """Leaves logits as they are."""

    def start(self, prompt_BT: Tensor) -> None:
        """Nothing to remember."""

    def adjust(self, state: None, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """The same tensor."""
        return logits_BMV

    def observe(self, state: None, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""
