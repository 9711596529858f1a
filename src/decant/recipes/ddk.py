"""More of the domains in which the student is behind its teacher.

Source: Liu et al. 2024, arXiv:2407.16154.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.ddk import DDK as Mixing
from decant.distill.rollouts.ddk import Measured
from decant.errors import BadInput
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class DDK:
    """gamma: of KL beside cross-entropy. every: steps between measurements. smooth: how far the mixture may lean.

    looked: texts of each domain that are measured on and not taught.
    """

    gamma: float = 0.2
    every: int = 100
    smooth: float = 0.5
    looked: int = 8

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts by domain. Raises BadInput where the data names fewer than two."""
        parts = [[text for text in kit.texts if text.domain == domain] for domain in range(len(kit.domains))]
        parts = [part for part in parts if len(part) > self.looked]
        if len(parts) < 2:
            raise BadInput(
                f"ddk mixes domains, and the data has {len(parts)} with more than {self.looked} texts; name one in "
                f'each line ("domain": ...), or take hinton'
            )
        lag = Measured([part[: self.looked] for part in parts], kit.student, kit.model().network, length=kit.length)
        taught = [kit.rows_of(part[self.looked :]) for part in parts]
        mixing = Mixing(taught, lag, every=self.every, smooth=self.smooth, seed=kit.seed)
        return kit.composed(mixing, [Asked(CrossEntropy()), Asked(Pointwise(ForwardKL()), self.gamma)])
