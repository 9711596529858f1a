"""Always guess the same amount.

Source: Leviathan et al. 2023, arXiv:2211.17192 (their gamma); trees: Miao et al. 2023, arXiv:2305.09781.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from decant.errors import BadInput
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Fixed:
    """`depth` levels of `width` children each, at most `budget` nodes, every time.

    Raises BadInput for a depth or budget below 0 or a width below 1. A tree of width > 1 grows as width ** depth: give
    it a budget.
    """

    depth: int = 5
    width: int = 1
    budget: int | None = None

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.depth < 0 or self.width < 1 or (self.budget is not None and self.budget < 0):
            raise BadInput(
                f"a draft needs depth >= 0, width >= 1 and budget >= 0 or None, got depth {self.depth}, "
                f"width {self.width}, budget {self.budget}; to guess nothing take the method plain"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same shape."""
        return DraftShape(self.depth, self.width, self.budget)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""
