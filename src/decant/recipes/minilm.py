"""The relations between tokens that a layer's queries, keys and values span, beside the law.

The paper distils encoders by relations alone and then fine-tunes; a student that speaks needs its head taught too, so
`kl` adds forward KL. 0 is the paper's.
Source: Wang et al. 2020, arXiv:2012.15828 (MiniLMv2).
"""

from dataclasses import dataclass
from typing import final

from decant.distill.composition import Asked, Composition
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.attention_relations import AttentionRelations
from decant.distill.objectives.pointwise import Pointwise
from decant.recipes.kit import Kit


@final
@dataclass(frozen=True, slots=True)
class MiniLM:
    """layer, teacher_layer: counted from 0, or from the end below 0. heads: relation heads. kl: of forward KL."""

    layer: int = -1
    teacher_layer: int = -1
    heads: int = 4
    relations: str = "qkv"
    kl: float = 1.0

    def compose(self, kit: Kit) -> Composition:
        """The data set's texts."""
        related = AttentionRelations(self.layer, self.teacher_layer, self.heads, self.relations)
        return kit.composed(kit.rows_of(), [Asked(related), Asked(Pointwise(ForwardKL()), self.kl)])
