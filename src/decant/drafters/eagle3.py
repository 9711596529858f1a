"""EAGLE-3: a one-layer head guesses from the target's low, middle and high states, joined, over the likeliest ids.

It drafts as EAGLE does; what differs is the head, and how it was taught.
Source: Li et al. 2025, arXiv:2503.01840.
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
class Eagle3(Generic[State]):
    """head: the trained network. coupled: draw with the target's own noise (see `growing.grown`)."""

    kind: ClassVar[str] = "eagle3"
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
        """A tree out of the head's laws; ids outside its vocabulary are never guessed."""
        return grown(self.head.guess(state), shape, warp, noise, self.coupled)

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """The head reads what was committed, each token with the target's states of the one before."""
        hidden_BCF = along_path(scores.hidden(self.head.layers), verdict.nodes_BC)
        return self.head.follow(state, verdict.tokens_BC, hidden_BCF)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The head's keys and values."""
        return self.head.cache_bytes(tokens)
