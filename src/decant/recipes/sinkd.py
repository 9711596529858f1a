"""What it costs to carry the student's laws to the teacher's, beside the usual KL.

Source: Cui et al. 2024, arXiv:2402.17110.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.objectives.sinkhorn import Sinkhorn
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class SinKD:
    """alpha CE + beta T^2 KL + weight times Sinkhorn's cost. The authors lower T from 4 to 1; here it stays."""

    weight: float = 8e-4
    alpha: float = 0.1
    beta: float = 0.8
    temperature: float = 2.0
    group: int = 16

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        soft = Pointwise(ForwardKL(), self.temperature)
        carried = Sinkhorn(group=self.group)
        return kit.composed(
            kit.rows_of(),
            [Asked(CrossEntropy(), self.alpha), Asked(soft, self.beta), Asked(carried, self.weight)],
        )
