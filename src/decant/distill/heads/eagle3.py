"""EAGLE-3's recipe: no regression; the head is taught on its own states for several steps, and learns its own output
matrix.

Source: Li et al. 2025, arXiv:2503.01840.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

from torch import Tensor

from decant.distill.heads.lesson import layered
from decant.distill.heads.unrolling import guessed, own_states
from decant.distill.trainer import Loss
from decant.models.heads.spec import HeadSpec, default_taps
from decant.models.teacher import Reading, Teacher


@final
@dataclass(frozen=True, slots=True)
class Eagle3:
    """intermediate, heads, kv_heads, head_dim: of the layer; 0: the teacher's. draft_vocab: ids that can be guessed, 0:
    all. unroll: steps of a lesson. decay: what a step counts less than the one before."""

    kind: ClassVar[str] = "eagle3"
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    unroll: int = 7
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        spec = HeadSpec.beside(self.kind, teacher.name, teacher.config, draft_vocab=self.draft_vocab)
        return replace(layered(spec, self), taps=default_taps(spec.teacher_layers))

    def rate(self, spec: HeadSpec) -> float:
        """5e-5 at a width of 4,096; more for narrower heads."""
        return 5e-5 * 4096 / spec.hidden

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Cross-entropy of every step."""
        return own_states(net, teacher, self.unroll, self.decay)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        return guessed(net, reading)
