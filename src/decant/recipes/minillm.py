"""The sequence's reverse KL by policy gradient, on answers in which the teacher has a say; the exact KL of every token
beside it takes most of the noise away.

The paper adds a loss on texts of the pre-training corpus and uses every answer for several updates; here answers are
all that is learnt from, and each of them once.
Source: Gu et al. 2024, arXiv:2306.08543.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.objectives.policy_gradient import PolicyGradient
from decant.distill.rollouts.mixed_policy import MixedPolicy
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class MiniLLM:
    """alpha: the teacher's share in the law that answers are drawn from. scale: rewards are divided by it.

    gamma: of returns. mean: returns are divided by the tokens that are left. whiten: returns get mean 0 and variance 1.
    epsilon: of PPO's clip.
    """

    alpha: float = 0.2
    scale: float = 0.5
    gamma: float = 0.95
    mean: bool = True
    whiten: bool = True
    epsilon: float = 0.2

    def compose(self, kit: Kit) -> Composition:
        """Answers to the prompts, by student and teacher together."""
        led = PolicyGradient(self.scale, gamma=self.gamma, mean=self.mean, whiten=self.whiten, epsilon=self.epsilon)
        return kit.composed(
            MixedPolicy(kit.questions(), self.alpha, kit.writing()),
            [Asked(led), Asked(Pointwise(ReverseKL()))],
            speaker=kit.speaker(mixes=True),
        )
