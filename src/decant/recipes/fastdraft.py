"""A small draft, aligned by the target's own answers at several temperatures.

The paper first trains the draft from nothing on billions of tokens; here that draft is given.
Source: Zafrir et al. 2024, arXiv:2411.11055.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.errors import BadInput
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class FastDraft:
    """temperatures: of the target's answers, with `+` between; every prompt is answered at each."""

    temperatures: str = "0+0.6+1"

    def beforehand(self, kit: Kit) -> list[str]:
        """In a plan's words."""
        return [kit.unwritten(len(self._heats()))]

    def compose(self, kit: Kit) -> Composition:
        """The target's texts. Raises BadInput for what is no temperature."""
        return kit.composed(kit.written(*self._heats()), [Asked(CrossEntropy())])

    def _heats(self) -> list[float]:
        try:
            return [float(heat) for heat in self.temperatures.split("+")]
        except ValueError:
            raise BadInput(
                f"temperatures are numbers with + between, such as 0+0.6+1, not {self.temperatures!r}"
            ) from None
