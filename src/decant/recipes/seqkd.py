"""Learn the teacher's own answers, as if they were data.

Source: Kim & Rush 2016, arXiv:1606.07947.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class SeqKD:
    """-log q of what the teacher wrote, greedily."""

    beforehand: ClassVar[tuple[str, ...]] = ("the teacher answers every prompt",)

    def compose(self, kit: Kit) -> Composition:
        """The teacher's texts."""
        return kit.composed(kit.written(), [Asked(CrossEntropy())])
