"""EAGLE-3's recipe: no regression; the head is taught on its own states for several steps, and learns its own output
matrix.

Source: Li et al. 2025, arXiv:2503.01840.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, ClassVar, Final, final

import torch
from torch import Tensor

from decant.distill.heads.lesson import cross_entropy, layered, targets
from decant.distill.trainer import Loss
from decant.models.build import mixed_precision
from decant.models.heads.block import angles_of
from decant.models.heads.recurrent import unrolled
from decant.models.heads.spec import HeadSpec, default_taps
from decant.models.teacher import Reading, Teacher

DEPTHS: Final = 5  # of a measurement


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
        angles = angles_of(net.spec, torch.float32, teacher.device)

        def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
            law_NV, weight_N = targets(reading, net.ids_V)
            total = law_NV.new_zeros(())
            with mixed_precision(teacher.device):
                for depth, logits_KV in enumerate(self._steps(net, reading, angles, self.unroll)):
                    kept_K, _ = reading.columns(depth)
                    total = total + self.decay**depth * cross_entropy(law_NV[kept_K], logits_KV, weight_N[kept_K])
            return total

        return loss

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Depth 0 on the teacher's states, the others on the head's own."""
        angles = angles_of(net.spec, torch.float32, reading.ids_BT.device)
        yield from self._steps(net, reading, angles, DEPTHS)

    def _steps(self, net: Any, reading: Reading, angles: Any, steps: int) -> Iterator[Tensor]:
        for depth, state_BTD in enumerate(islice(unrolled(net, reading.ids_BT, reading.hidden_BTF, angles), steps)):
            kept_K, column_K = reading.columns(depth)
            yield net.logits(state_BTD[reading.row_N[kept_K], column_K])
