"""Chimera's recipe: the state of the newest token by regression, and the law that both states give, from the teacher's.

Steps behind the first feed on the head's own states. The weights of the losses are not known to us; the published code
also regresses logits, which here the teacher's whole law stands for.
Source: Zeng et al. 2024, arXiv:2402.15758; gradients through every step: Zhang et al. 2024, arXiv:2408.15766 (HASS).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from decant.distill.heads.lesson import cross_entropy, layered, regression, targets
from decant.distill.trainer import Loss
from decant.models.build import mixed_precision
from decant.models.heads.block import angles_of
from decant.models.heads.chimera import unrolled
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher

DEPTHS: Final = 5  # of a measurement


@final
@dataclass(frozen=True, slots=True)
class Chimera:
    """gram: width that an embedding is brought to before three are joined, 0: the teacher's. shared: read both states
    with the teacher's own output matrix. intermediate, heads, kv_heads, head_dim: of the layer; 0: the teacher's.
    draft_vocab: ids that can be guessed, 0: all. regression, ce: weights of the two losses. unroll: steps of a lesson.
    decay: what a step counts less than the one before."""

    kind: ClassVar[str] = "chimera"
    gram: int = 0
    shared: bool = True
    intermediate: int = 0
    heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    draft_vocab: int = 0
    regression: float = 1.0
    ce: float = 1.0
    unroll: int = 4
    decay: float = 0.8

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        knobs = {"gram": self.gram, "shared": self.shared}
        spec = HeadSpec.beside(
            self.kind, teacher.name, teacher.config, taps=(-1,), draft_vocab=self.draft_vocab, knobs=knobs
        )
        return layered(spec, self)

    def rate(self, spec: HeadSpec) -> float:
        """3e-5 at a width of 4,096; more for narrower heads."""
        return 3e-5 * 4096 / spec.hidden

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Both losses of every step."""
        angles = angles_of(net.spec, torch.float32, teacher.device)

        def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
            law_NV, weight_N = targets(reading, net.ids_V)
            total = law_NV.new_zeros(())
            with mixed_precision(teacher.device):
                for depth, (state_KD, logits_KV) in enumerate(self._steps(net, reading, angles, self.unroll)):
                    kept_K, _ = reading.columns(depth)
                    nats = cross_entropy(law_NV[kept_K], logits_KV, weight_N[kept_K])
                    missed = regression(reading, kept_K, state_KD, mse_loss)
                    total = total + self.decay**depth * (self.regression * missed + self.ce * nats)
            return total

        return loss

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        angles = angles_of(net.spec, torch.float32, reading.ids_BT.device)
        for _, logits_KV in self._steps(net, reading, angles, DEPTHS):
            yield logits_KV

    def _steps(self, net: Any, reading: Reading, angles: Any, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        for depth, state_BTD in enumerate(islice(unrolled(net, reading.ids_BT, reading.hidden_BTF, angles), steps)):
            kept_K, column_K = reading.columns(depth)
            row_K = reading.row_N[kept_K]
            state_KD = state_BTD[row_K, column_K]
            yield state_KD, net.logits(reading.hidden_BTF[row_K, column_K], state_KD)
