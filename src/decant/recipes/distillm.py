"""KL to a mixture, whose ratios are bounded, and the student's own answers only as far as they are needed, used again.

Source: Ko et al. 2024, arXiv:2402.03898.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.skew_kl import SkewKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.replay import Replay
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class DistiLLM:
    """lam: how far the student's law is mixed with the teacher's. reverse: skew reverse KL.

    ce: of the texts' own tokens, which the authors take from a second corpus. every: steps between two looks.
    """

    lam: float = 0.1
    reverse: bool = False
    ce: float = 1.0
    capacity: int = 1000
    every: int = 100

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts, and answers of the student, new and old."""
        rollouts = Replay(kit.rows_of(), kit.writing(), capacity=self.capacity, every=self.every)
        skewed = Pointwise(SkewKL(self.lam, self.reverse))
        return kit.composed(rollouts, [Asked(skewed), Asked(CrossEntropy(), self.ce)])
