"""Learn the teacher's own answers, as if they were data.

Source: Kim & Rush 2016, arXiv:1606.07947.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class SeqKD:
    """-log q of what the teacher wrote, greedily."""

    def beforehand(self, kit: Kit) -> list[str]:
        """In a plan's words."""
        return [kit.unwritten()]

    def compose(self, kit: Kit) -> Composition:
        """The teacher's texts."""
        return kit.composed(kit.written(), [Asked(CrossEntropy())])
