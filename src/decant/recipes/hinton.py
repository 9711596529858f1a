"""Softened laws of the teacher beside the text's own tokens.

Source: Hinton et al. 2015, arXiv:1503.02531.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class Hinton:
    """(1 - alpha) CE + alpha T^2 KL(p || q), both laws at temperature T."""

    alpha: float = 0.5
    temperature: float = 2.0

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        soft = Pointwise(ForwardKL(), self.temperature)
        return kit.composed(kit.rows_of(), [Asked(soft, self.alpha), Asked(CrossEntropy(), 1 - self.alpha)])
