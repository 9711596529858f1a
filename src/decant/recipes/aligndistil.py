"""A model that was aligned by DPO, pushed further away from one aligned the other way round, teaches token by token.

The teacher of the run is the DPO model; `contrast` names the one whose chosen and rejected answers were swapped, or the
reference model.
Source: Zhang et al. 2025, arXiv:2503.02832.
"""

from dataclasses import dataclass
from typing import Literal, final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.teachers.contrastive import Contrastive
from decant.distill.teachers.live import Live
from decant.distill.weighting.adaptive_beta import AdaptiveBeta
from decant.errors import BadInput
from decant.models.teacher import Teacher
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class AlignDistil:
    """beta: of the DPO; kappa: how far the difference is followed; least: of w, so that beta / w is bounded."""

    contrast: str = ""
    beta: float = 0.1
    kappa: float = 10.0
    least: float = 1e-3
    around: Literal["aligned", "contrast"] = "aligned"

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts. Raises BadInput without a contrast."""
        if not self.contrast:
            raise BadInput("aligndistil needs the model that was aligned the other way round, contrast=DIR")
        other = Live(Teacher.open(self.contrast, kit.model().device))
        teacher = Contrastive(
            Live(kit.model()), other, beta=self.beta, kappa=self.kappa, least=self.least, around=self.around
        )
        asked = [Asked(Pointwise(ReverseKL()))]
        return kit.composed(kit.rows_of(), asked, teacher=teacher, weighting=AdaptiveBeta())
