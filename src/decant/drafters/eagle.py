"""EAGLE: a one-layer head guesses the target's next states, and so the next tokens, from its last ones.

After each step the head reads the accepted tokens with the target's true states; what it made up while it drafted is
forgotten. Trees are the policy's: a fixed template is EAGLE-1, one grown by confidence is EAGLE-2. Other heads that go
from states to states draft the same way (EAGLE-3, FSPAD, Falcon, Chimera): which one it is, the method says.
Source: Li et al. 2024, arXiv:2401.15077; EAGLE-2: Li et al. 2024, arXiv:2406.16858; EAGLE-3: Li et al. 2025,
arXiv:2503.01840.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, final

from torch import Tensor

from decant.drafting.growing import grown
from decant.noise import Noise
from decant.numerics import along_path
from decant.protocols import FeatureHead, State, Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Eagle(Generic[State]):
    """head: the trained network. coupled: draw with the target's own noise (see `growing.grown`)."""

    kind: ClassVar[str] = "eagle"
    head: FeatureHead[State]
    coupled: bool = True

    @property
    def taps(self) -> Taps:
        """The states that the head reads."""
        return Taps(layers=self.head.layers)

    def start(self, prompt_BT: Tensor, prefill: Scores) -> State:
        """The head reads the prompt."""
        return self.head.start(prompt_BT, prefill.hidden(self.head.layers))

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A tree out of the head's laws."""
        return grown(self.head.guess(state), shape, warp, noise, self.coupled)

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The head reads what was committed, each token with the target's state of the one before."""
        hidden_BCF = along_path(scores.hidden(self.head.layers), verdict.nodes_BC)
        return self.head.follow(state, verdict.tokens_BC, hidden_BCF)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The head's keys and values."""
        return self.head.cache_bytes(tokens)
