"""A draft learns only the tokens that a copy of it could learn: where the copy, taught first, has come closer to the
target than the draft has.

Source: Hu et al. 2025, arXiv:2510.19779.
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.teachers.live import Live
from decant.distill.weighting.ada_spec import AdaSpec as Selected
from decant.models.teacher import Teacher
from decant.recipes.hinton import Hinton
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class AdaSPEC:
    """k: share of a text's tokens that are kept. reference: share of the steps that the copy is taught."""

    k: float = 0.4
    reference: float = 0.5

    def beforehand(self, kit: Kit) -> list[str]:
        """In a plan's words."""
        copy = "a copy of the student is taught with forward KL: the reference"
        return [f"{copy}, for {self.reference:g} of the steps; counted in all times"]

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        copy = kit.apart(Hinton(alpha=1.0, temperature=1.0), self.reference, "reference")
        selected = Selected(Live(Teacher("reference", copy)), self.k)
        return kit.composed(kit.rows_of(), [Asked(Pointwise(ForwardKL()))], weighting=selected)
