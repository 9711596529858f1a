"""On-policy: the prompts of a data set, answered by the student as it is now.

What is written is a function of the step and of the weights, so a run that goes on from a checkpoint writes the same.
Source: Agarwal et al. 2023, arXiv:2306.13649 (GKD).
"""

from dataclasses import dataclass, field
from typing import Any, final

from decant.distill.seams import Rollouts, Speaker
from decant.distill.texts import TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import Writing, side_by_side


@final
@dataclass(frozen=True, slots=True)
class StudentSamples:
    """prompts: whose prompts. writing: how long, and with which seed; how tokens are drawn is the speaker's."""

    prompts: Rollouts[Any]
    writing: Writing = field(default_factory=Writing)

    def start(self) -> Any:
        """The prompts'."""
        return self.prompts.start()

    def batch(self, state: Any, step: int, share: Share, student: Speaker) -> tuple[TextBatch, Any]:
        """Each row's own answer is replaced; log-probabilities are those before any warp."""
        given, state = self.prompts.batch(state, step, share, student)
        return side_by_side(self.writing.answered(given, step, share, student)), state

    def observe(self, state: Any, step: int, steps: int, nats: float) -> Any:
        """The prompts'."""
        return self.prompts.observe(state, step, steps, nats)
