"""Medusa's recipe: head k learns what the teacher says k tokens later, the teacher frozen.

The published trainer takes the text's own ids as labels; on texts that the teacher did not write, its law is the better
label (`soft`), which is the paper's self-distillation.
Source: Cai et al. 2024, arXiv:2401.10774.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from decant.distill.heads.lesson import cross_entropy, targets
from decant.distill.trainer import Loss
from decant.models.build import mixed_precision
from decant.models.heads.spec import HeadSpec
from decant.models.teacher import Reading, Teacher


@final
@dataclass(frozen=True, slots=True)
class Medusa:
    """num_heads: how far it guesses. num_layers: residual blocks of each head. shared: read every head with the
    teacher's own output matrix. decay: what a head counts less than the one before. draft_vocab: ids that can be
    guessed, 0: all."""

    kind: ClassVar[str] = "medusa"
    num_heads: int = 4
    num_layers: int = 1
    shared: bool = True
    decay: float = 0.8
    soft: bool = True
    draft_vocab: int = 0

    def spec(self, teacher: Teacher) -> HeadSpec:
        """The head that it makes for this teacher."""
        knobs = {"num_heads": self.num_heads, "num_layers": self.num_layers, "shared": self.shared}
        return HeadSpec.beside(
            self.kind, teacher.name, teacher.config, taps=(-1,), draft_vocab=self.draft_vocab, knobs=knobs
        )

    def rate(self, spec: HeadSpec) -> float:
        """As published."""
        return 1e-3

    def loss(self, net: Any, teacher: Teacher) -> Loss:
        """Cross-entropy, summed over heads."""

        def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
            reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
            law_NV, weight_N = targets(reading, net.ids_V) if self.soft else self._labels(reading, net.ids_V)
            total = law_NV.new_zeros(())
            with mixed_precision(teacher.device):
                for depth, logits_KV in enumerate(self.guesses(net, reading)):
                    kept_K, _ = reading.columns(depth)
                    total = total + self.decay**depth * cross_entropy(law_NV[kept_K], logits_KV, weight_N[kept_K])
            return total

        return loss

    def guesses(self, net: Any, reading: Reading) -> Iterator[Tensor]:
        """Head by head, each at the columns in front of the positions that count."""
        for depth, head in enumerate(net.heads):
            kept_K, column_K = reading.columns(depth)
            state_KD = head(reading.hidden_BTF[reading.row_N[kept_K], column_K])
            yield net.ends.say(state_KD) if net.shared else state_KD

    def _labels(self, reading: Reading, ids_V: Tensor | None) -> tuple[Tensor, Tensor]:
        said_N = reading.ids_BT[reading.row_N, reading.at_N + 1]
        law_NV = one_hot(said_N, reading.logits_NV.shape[-1]).float()
        if ids_V is None:
            return law_NV, reading.weight_N
        return law_NV[:, ids_V], reading.weight_N * torch.isin(said_N, ids_V)
