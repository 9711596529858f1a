"""Stop guessing where the drafter itself is unsure.

The drafter looks at the law, never at the token: dropping a drawn token because it was unlikely would bias the output.

Source: Zhang et al. 2023, arXiv:2309.08168 (draft-exiting).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from decant.errors import BadInput
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Confidence:
    """Up to `depth` guesses; the first whose law holds no probability of `threshold` or more is the last.

    Only drafters with a law can obey the threshold; the others guess to `depth`.
    Raises BadInput for a depth below 0 or a threshold outside [0, 1].
    """

    depth: int = 10
    threshold: float = 0.4

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.depth < 0 or not 0 <= self.threshold <= 1:
            raise BadInput(
                f"confidence needs depth >= 0 and a threshold in [0, 1], got depth {self.depth}, "
                f"threshold {self.threshold}; 0 never stops early"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same shape: the drafter applies the threshold."""
        return DraftShape(self.depth, stop_below=self.threshold)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""
