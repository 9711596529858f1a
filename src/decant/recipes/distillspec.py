"""A draft learns the target's law on the draft's own answers, so that more of its guesses are kept.

Source: Zhou et al. 2024, arXiv:2310.08461.
"""

from dataclasses import dataclass
from typing import Final, Literal, final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.acceptance import Acceptance
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.divergences.jensen_shannon import JensenShannon
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.divergences.total_variation import TotalVariation
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.mixture import Mixture
from decant.distill.rollouts.student_samples import StudentSamples
from decant.recipes.kit import Kit

Name = Literal["forward_kl", "reverse_kl", "jensen_shannon", "total_variation", "acceptance"]

DISTANCES: Final = {
    "forward_kl": ForwardKL,
    "reverse_kl": ReverseKL,
    "jensen_shannon": JensenShannon,
    "total_variation": TotalVariation,
    "acceptance": Acceptance,
}


@final
@dataclass(frozen=True, slots=True)
class DistillSpec:
    """distance: between the target's law and the draft's. own: share of the steps on the draft's own answers.

    temperature: of those answers; decode at the same.
    """

    distance: Name = "forward_kl"
    own: float = 1.0
    temperature: float = 1.0

    def compose(self, kit: Kit) -> Composition:
        """The draft's answers to the prompts, mixed with the data set's texts where `own` is below 1."""
        mine = StudentSamples(kit.questions(), kit.writing())
        rollouts = mine if self.own == 1 else Mixture(kit.rows_of(), mine, self.own, seed=kit.seed)
        return kit.composed(rollouts, [Asked(Pointwise(DISTANCES[self.distance]()))], self.temperature)
