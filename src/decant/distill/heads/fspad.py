"""FSPAD's recipe: EAGLE's, but the law is taught to a branch beside the state that the head goes on with.

`apart` keeps the law's gradient from the state altogether, so that regression alone teaches it. How far the published
recipe goes, what it weighs and its rate are not known to us: what is not said here is EAGLE's.
Source: Gui et al. 2024, arXiv:2408.15562; more steps than one: Zhang et al. 2024, arXiv:2408.15766 (HASS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

from torch import Tensor

from decant.distill.heads.lesson import layered
from decant.distill.heads.unrolling import guessed, own_states_and_theirs
from decant.distill.trainer import Loss
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher


@final
@dataclass(frozen=True, slots=True)
class Fspad:
    """lift: width of the state while it is sampled, 0: twice the teacher's. gate: rank of the gate's matrix, 0: whole.
    branch: width inside the branch, 0: the teacher's. intermediate, heads, kv_heads, head_dim: of the layer; 0: the
    teacher's. draft_vocab: ids that can be guessed, 0: all. regression, ce: weights of the two losses. apart: keep the
    law's gradient from the state. noise: on the teacher's states, for a text of 512 tokens. decay: what a step counts
    less than the one before."""

    kind: ClassVar[str] = "fspad"
    lift: int = 0
    gate: int = 0
    branch: int = 0
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    regression: float = 1.0
    ce: float = 0.1
    apart: bool = True
    noise: float = 0.2
    unroll: int = 1
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        knobs = {"lift": self.lift, "gate": self.gate, "branch": self.branch}
        spec = HeadSpec.beside(
            self.kind, teacher.name, teacher.config, taps=(-1,), draft_vocab=self.draft_vocab, knobs=knobs
        )
        return layered(spec, self)

    def rate(self, spec: HeadSpec) -> float:
        """EAGLE's: 3e-5 at a width of 4,096; more for narrower heads."""
        return 3e-5 * 4096 / spec.hidden

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Both losses of every step."""
        return own_states_and_theirs(net, teacher, self, partial(self.said, net))

    def said(self, net: Any, state_KD: Tensor) -> Tensor:
        """logits_KV, and what of them the state is taught by."""
        return net.logits(state_KD.detach() if self.apart else state_KD)

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        return guessed(net, reading)
