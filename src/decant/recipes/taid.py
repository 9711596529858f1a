"""The target moves from what the student says to what the teacher says, the faster the better the student follows.

The loss is cross-entropy with the moving target, as in the authors' code: the pace reads its value.
Source: Shing et al. 2025, arXiv:2501.16937.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.curricula.taid import TAID as Pace
from decant.distill.divergences.soft_cross_entropy import SoftCrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class TAID:
    """first, last: the teacher's share in the target. alpha: its pace. beta: the momentum of the pace."""

    first: float = 0.4
    last: float = 1.0
    alpha: float = 5e-4
    beta: float = 0.99

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        pace = Pace(self.first, self.last, self.alpha, self.beta)
        return kit.composed(kit.rows_of(), [Asked(Pointwise(SoftCrossEntropy()))], curriculum=pace)
