"""One list-wise likelihood in place of cross-entropy and KL: the label first, then the teacher's order.

Source: Bassam et al. 2025, arXiv:2506.12542.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.plackett_luce import PlackettLuce
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class PLD:
    """k: ranks that are summed. temperature: of the weights of ranks."""

    k: int = 100
    temperature: float = 1.0

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        return kit.composed(kit.rows_of(), [Asked(PlackettLuce(self.k, self.temperature))])
