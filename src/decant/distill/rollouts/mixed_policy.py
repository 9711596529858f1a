"""Teacher-mixed sampling: answers are drawn from a mixture of both laws, so that they stay where the teacher has
something to say.

`TextBatch.logp_BT` is the mixture's: what an importance weight divides by.
Source: Gu et al. 2023, arXiv:2306.08543 (MiniLLM).
"""

from dataclasses import dataclass, field
from typing import Any, final

from decant.distill.seams import Rollouts, Speaker
from decant.distill.speaking import Mixes
from decant.distill.texts import TextBatch
from decant.distill.trainer import Share
from decant.distill.writing import Writing, side_by_side
from decant.errors import BadInput, IncompatibleParts


@final
@dataclass(frozen=True, slots=True)
class MixedPolicy:
    """prompts: whose prompts. alpha: the teacher's share of every token's law."""

    prompts: Rollouts[Any]
    alpha: float = 0.2
    writing: Writing = field(default_factory=Writing)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise BadInput(f"alpha is the teacher's share, between 0 and 1, not {self.alpha}")

    def start(self) -> Any:
        """The prompts'."""
        return self.prompts.start()

    def batch(self, state: Any, step: int, share: Share, student: Speaker) -> tuple[TextBatch, Any]:
        """Raises IncompatibleParts for a speaker that cannot mix."""
        if not isinstance(student, Mixes):
            raise IncompatibleParts(f"{type(student).__name__} cannot mix a teacher in; take Speaking with a teacher")
        given, state = self.prompts.batch(state, step, share, student)
        return side_by_side(self.writing.answered(given, step, share, student.mixed(self.alpha))), state

    def observe(self, state: Any, step: int, steps: int, nats: float) -> Any:
        """The prompts'."""
        return self.prompts.observe(state, step, steps, nats)
