"""EAGLE's recipe: the next state by regression, and through the frozen output matrix the next law.

`unroll` steps feed the head on its own states, as it will when it drafts; the published recipe takes one, and noise on
the teacher's states in place of the others.
Source: Li et al. 2024, arXiv:2401.15077; more steps than one: Zhang et al. 2024, arXiv:2408.15766 (HASS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor

from decant.distill.heads.lesson import cross_entropy, layered, noisy, regression, targets
from decant.distill.trainer import Loss
from decant.models.build import mixed_precision
from decant.models.heads.block import angles_of
from decant.models.heads.recurrent import unrolled
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher

DEPTHS: Final = 5  # of a measurement


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
        angles = angles_of(net.spec, torch.float32, teacher.device)

        def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
            law_NV, weight_N = targets(reading, net.ids_V)
            total = law_NV.new_zeros(())
            with mixed_precision(teacher.device):
                steps = unrolled(net, reading.ids_BT, noisy(reading, self.noise), angles)
                for depth, state_BTD in enumerate(islice(steps, self.unroll)):
                    kept_K, column_K = reading.columns(depth)
                    state_KD = state_BTD[reading.row_N[kept_K], column_K]
                    nats = cross_entropy(law_NV[kept_K], net.logits(state_KD), weight_N[kept_K])
                    missed = regression(reading, kept_K, state_KD)
                    total = total + self.decay**depth * (self.regression * missed + self.ce * nats)
            return total

        return loss

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        angles = angles_of(net.spec, torch.float32, reading.ids_BT.device)
        for depth, state_BTD in enumerate(islice(unrolled(net, reading.ids_BT, reading.hidden_BTF, angles), DEPTHS)):
            kept_K, column_K = reading.columns(depth)
            yield net.logits(state_BTD[reading.row_N[kept_K], column_K])
