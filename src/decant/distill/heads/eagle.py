"""EAGLE's recipe: the next state by regression, and through the frozen output matrix the next law.

`unroll` steps feed the head on its own states, as it will when it drafts; the published recipe takes one, and noise on
the teacher's states in place of the others.
Source: Li et al. 2024, arXiv:2401.15077; more steps than one: Zhang et al. 2024, arXiv:2408.15766 (HASS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

from torch import Tensor

from decant.distill.heads.lesson import layered
from decant.distill.heads.unrolling import guessed, own_states_and_theirs
from decant.distill.trainer import Loss
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher


@final
@dataclass(frozen=True, slots=True)
class Eagle:
    """intermediate, heads, kv_heads, head_dim: of the layer; 0: the teacher's. draft_vocab: ids that can be guessed, 0:
    all. regression, ce: weights of the two losses. noise: on the teacher's states, for a text of 512 tokens. decay:
    what a step counts less than the one before."""

    kind: ClassVar[str] = "eagle"
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    regression: float = 1.0
    ce: float = 0.1
    noise: float = 0.2
    unroll: int = 1
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        spec = HeadSpec.beside(self.kind, teacher.name, teacher.config, taps=(-1,), draft_vocab=self.draft_vocab)
        return layered(spec, self)

    def rate(self, spec: HeadSpec) -> float:
        """3e-5 at a width of 4,096, as published; more for narrower heads."""
        return 3e-5 * 4096 / spec.hidden

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Both losses of every step."""
        return own_states_and_theirs(net, teacher, self, net.logits)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        return guessed(net, reading)
