"""Hidden Transfer's recipe: the matrices alone learn, from what the frozen teacher says further on.

All matrices are taught together. Which layers the paper takes, and its learning rate, are not known to us.
Source: Wu et al. 2024, arXiv:2404.12022; what a place counts: Chen et al. 2024, arXiv:2405.18628.
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
class HiddenTransfer:
    """depth: how far the pseudo states guess. layer: of the teacher, that all of them enter; 0: two thirds up.
    columns: of a text that they are hung behind at every step. decay: what a place counts less than the one before."""

    kind: ClassVar[str] = "hidden-transfer"
    draft_vocab: ClassVar[int] = 0
    depth: int = 3
    layer: int = 0
    columns: int = 32
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        entry = self.layer or 2 * teacher.config.num_hidden_layers // 3
        return HeadSpec.beside(self.kind, teacher.name, teacher.config, taps=(entry,) * self.depth)

    def rate(self, spec: HeadSpec) -> float:
        """Medusa's: its matrices are of this size too."""
        return 1e-3

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Of every place."""
        return taught(net, teacher, self.columns, self.decay)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Place by place."""
        return guesses(net, reading)
