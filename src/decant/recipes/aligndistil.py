"""A model that was aligned by DPO, pushed further away from one aligned the other way round, teaches token by token.

The teacher of the run is the DPO model; `contrast` names the one whose chosen and rejected answers were swapped, or the
reference model. Every text counts alike, however long it is: the mean is one over texts of the mean over their tokens,
but for texts without end (`kit.stream`), whose rows are all full.
Source: Zhang et al. 2025, arXiv:2503.02832.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.teachers.contrastive import Contrastive
from decant.distill.teachers.live import Live
from decant.distill.texts import Text
from decant.distill.weighting.adaptive_beta import AdaptiveBeta
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import speller
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
        """The data set's texts. Raises BadInput without a contrast, IncompatibleParts for one that spells otherwise."""
        if not self.contrast:
            raise BadInput("aligndistil needs the model that was aligned the other way round, contrast=DIR")
        if not kit.spellers[0].same(speller(self.contrast)):
            raise IncompatibleParts(
                f"the tokenizers of contrast={self.contrast} and of the student differ, and aligndistil compares token "
                f"by token; take the model that was aligned the other way round from the same start"
            )
        other = Live(Teacher.open(self.contrast, kit.model().device))
        teacher = Contrastive(
            Live(kit.model()), other, beta=self.beta, kappa=self.kappa, least=self.least, around=self.around
        )
        asked = [Asked(Pointwise(ReverseKL()))]
        rows = kit.rows_of() if kit.stream is not None else kit.rows_of(levelled(kit.texts, kit.length))
        return kit.composed(rows, asked, teacher=teacher, weighting=AdaptiveBeta())


def levelled(texts: Sequence[Text], length: int) -> list[Text]:
    """Texts whose weights within `length` tokens sum to the same, which is their mean sum."""
    sums = [sum(text.weights[1:length]) for text in texts]
    mean = sum(sums) / max(1, len(sums))
    return [
        replace(text, weights=[weight * mean / (own or 1.0) for weight in text.weights])
        for text, own in zip(texts, sums, strict=True)
    ]
