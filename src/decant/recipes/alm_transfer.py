"""A student with another tokenizer learns to give every stretch of text the probability that its teacher gives it.

Source: Minixhofer et al. 2025, arXiv:2503.20083.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.alm import ALM
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class ALMTransfer:
    """alm, ce: shares of likelihood matching and of the texts' own tokens. temperature: of chunk probabilities."""

    alm: float = 1.0
    ce: float = 1.0
    temperature: float = 100.0
    threshold: float = 0.1

    bridges: ClassVar[bool] = True

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        matched = ALM(self.temperature, self.threshold or None)
        return kit.composed(
            kit.rows_of(), [Asked(matched, self.alm), Asked(CrossEntropy(), self.ce)], teacher=kit.across()
        )
