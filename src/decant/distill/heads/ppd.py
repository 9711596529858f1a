"""PPD's recipe: a few embeddings are all that learns; behind random columns of a text they are taught what the frozen
teacher says further on.

Source: Chen et al. 2024, arXiv:2405.18628.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from decant.distill.heads.riders import guesses, taught
from decant.distill.trainer import Loss
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher


@final
@dataclass(frozen=True, slots=True)
class Ppd:
    """depth: how far the prompt tokens guess. copies: of each, blind to each other, whose logits are averaged; they
    multiply rows. columns: of a text that they are hung behind at every step. decay: what a place counts less than the
    one before."""

    kind: ClassVar[str] = "ppd"
    draft_vocab: ClassVar[int] = 0
    depth: int = 3
    copies: int = 1
    columns: int = 32
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        knobs = {"depth": self.depth, "copies": self.copies}
        return HeadSpec.beside(self.kind, teacher.name, teacher.config, taps=(-1,), knobs=knobs)

    def rate(self, spec: HeadSpec) -> float:
        """As published."""
        return 1e-2

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Of every place."""
        return taught(net, teacher, self.columns, self.decay)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Place by place."""
        return guesses(net, reading)
