"""Presence penalty: every token of the output so far loses the same, however often it was said; the prompt is free.

Source: OpenAI's API reference, presence_penalty.
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.errors import BadInput
from decant.numerics import on_counts, tallied
from decant.types import Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class PresencePenalty:
    """penalty: nats; 0 changes nothing, less than 0 invites repetition. The state is a count of each id.

    O(M V) a step, however long the history. Raises BadInput unless the penalty lies in [-2, 2].
    """

    penalty: float = 0.5

    def __post_init__(self) -> None:
        if not -2 <= self.penalty <= 2:
            raise BadInput(f"presence-penalty must lie in [-2, 2], got {self.penalty}; 0 changes nothing")

    def start(self, prompt_BT: Tensor) -> Tensor:
        """counts_BW of nothing."""
        return prompt_BT[:, :0]

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """Once, however often a token was said."""
        return on_counts(logits_BMV, state, draft, lambda logits_X, counts_X: logits_X - self.penalty * (counts_X > 0))

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """counts_BW with what was committed."""
        return tallied(state, verdict.tokens_BC, scores.logits_BMV.shape[-1])
