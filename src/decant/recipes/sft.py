"""Plain fine-tuning on the data's own answers: what every recipe with a teacher has to beat."""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class SFT:
    """-log q of the texts."""

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        return kit.composed(kit.rows_of(), [Asked(CrossEntropy())])
