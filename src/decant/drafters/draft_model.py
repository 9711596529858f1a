"""A smaller language model guesses: a chain, or a tree of the likeliest branches.

Source: Leviathan et al. 2023, arXiv:2211.17192; Chen et al. 2023, arXiv:2302.01318; trees: Miao et al. 2023,
arXiv:2305.09781, and Jeon et al. 2024, arXiv:2402.14160 (the k largest of log q + Gumbel are k draws without
replacement).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, final

from torch import Tensor

from decant.drafting.growing import evaluated, grown
from decant.errors import IncompatibleParts
from decant.noise import Noise
from decant.protocols import LanguageModel, State, Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class DraftModel(Generic[State]):
    """Draw from `model` level by level, breadth first, under the same warp as the target.

    coupled: draw with the target's own noise, which makes the guesses fixed and the target's draw likely among them
        (for the verifier `coupled`). Otherwise draw from q with noise of its own and hand over the laws (for the
        rejection verifiers): a chain of independent draws, or a tree of draws without replacement.

    `stop_below` is compared with the model's own law, before any warp: under a greedy warp every law is certain.
    """

    model: LanguageModel[State]
    coupled: bool = True

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> State:
        """The model's own context."""
        return self.model.start(prompt_BT)[0]

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Raises IncompatibleParts for a draft that branches on a model that cannot score trees."""
        if shape.branches and not self.model.trees:
            raise IncompatibleParts(
                f"this draft branches, but this {type(self.model).__name__} draft model cannot score a tree; take a "
                f"policy of chains, such as fixed:width=1"
            )
        return grown(lambda tree: self.model.score(state, tree).logits_BMV, shape, warp, noise, self.coupled)

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The model keeps the accepted path; what it never scored stays pending."""
        return self.model.commit(state, evaluated(draft, verdict))

    def foreseen(self, state: State, shape: DraftShape) -> Tensor:
        """logits_BV behind the root: the first pass of the draft that comes next."""
        none_B0 = self.model.tokens(state)[:, :0]
        return self.model.score(state, Draft(none_B0, none_B0 if shape.branches else None)).logits_BMV[:, 0]

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own."""
        return self.model.cache_bytes(tokens)
