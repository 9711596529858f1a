"""A smaller model with another tokenizer guesses, as far as both write the same tokens: token-level intersection.

Source: Timor et al. 2025, arXiv:2502.05202 (token-level intersection, TLI).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, final

import torch
from torch import Tensor

from decant.drafting.growing import evaluated, grown
from decant.errors import IncompatibleParts
from decant.noise import Noise
from decant.protocols import LanguageModel, State, Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict
from decant.vocab.bridge import Bridge


@final
@dataclass(frozen=True, slots=True)
class SharedVocabulary(Generic[State]):
    """Draw from `foreign`, whose law is cut to the tokens that both vocabularies hold, and scaled to sum to one.

    foreign: the draft model, in ids of its own.
    bridge:  between the target's vocabulary and the draft's.
    coupled: draw with the target's own noise, which makes the guesses fixed; otherwise hand over the laws.

    The law lies over the target's ids before the warp, so that any verifier judges it as it judges any draft model's. A
    token that the draft cannot say is never guessed; committed, it is spelt for the draft (`Bridge.verdict`).
    """

    foreign: LanguageModel[State]
    bridge: Bridge
    coupled: bool = True

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> State:
        """The model's own context, over the prompt's text in its own ids."""
        return self.foreign.start(self.bridge.prompt(prompt_BT))[0]

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Raises IncompatibleParts for a draft that branches on a model that cannot score trees."""
        if shape.branches and not self.foreign.trees:
            raise IncompatibleParts(
                f"this draft branches, but this {type(self.foreign).__name__} draft model cannot score a tree; take a "
                f"policy of chains, such as fixed:width=1"
            )

        def evaluate(tree: Draft) -> Tensor:
            own = replace(tree, tokens_BN=self.bridge.tokens.to_draft(tree.tokens_BN))
            return self.bridge.tokens.lift(self.foreign.score(state, own).logits_BMV.float(), -torch.inf)

        return grown(evaluate, shape, warp, noise, self.coupled)

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The model keeps the accepted path and reads the rest in its own spelling."""
        return self.foreign.commit(state, self.bridge.verdict(evaluated(draft, verdict)))

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The model's own, for texts that stretch as the whole vocabulary does: more than most do."""
        return self.foreign.cache_bytes([round(count * self.bridge.stretch) for count in tokens])
