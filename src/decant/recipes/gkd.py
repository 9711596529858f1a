"""Learn on what the student says itself, at some of the steps; the teacher tells it token by token what it would say.

Source: Agarwal et al. 2024, arXiv:2306.13649.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.mixture import Mixture
from decant.distill.rollouts.student_samples import StudentSamples
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class GKD:
    """lmbda: share of the steps on the student's own answers. last: what it has become in a straight line by the last
    step; none: it stays. beta: 0 is forward KL, 1 reverse KL.

    temperature: of the student's answers; the loss is at 1.
    """

    lmbda: float = 0.5
    last: float | None = None
    beta: float = 0.5
    temperature: float = 0.9

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts, and the student's answers to its prompts."""
        own = StudentSamples(kit.questions(), kit.writing())
        all_own = self.lmbda == 1 and self.last in (None, 1)
        rollouts = own if all_own else Mixture(kit.rows_of(), own, self.lmbda, self.last, kit.seed)
        return kit.composed(rollouts, [Asked(Pointwise(JensenShannon(self.beta)))], self.temperature)
