"""Students and teachers whose laws are known, in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

from decant.distill.seams import Dense, Study
from decant.distill.texts import Positions, Text, TextBatch, padded


@dataclass(frozen=True)
class Known:
    """A student: its logits at the N positions."""

    logits_NV: Tensor

    @property
    def vocab(self) -> int:
        return self.logits_NV.shape[-1]

    def logits(self, rows: slice) -> Tensor:
        return self.logits_NV[rows]

    def logp(self, rows: slice) -> Tensor:
        return self.logits_NV[rows].log_softmax(-1)


@dataclass(frozen=True)
class Told:
    """A teacher's signal."""

    logp_NV: Tensor

    def law(self, rows: slice) -> Dense:
        return Dense(self.logp_NV[rows])


def noise(*shape: int, seed: int = 0, scale: float = 2.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def batch_of(*lengths: int, vocab: int, seed: int = 0) -> TextBatch:
    """Texts of random ids of which all but the first counts."""
    rng = torch.Generator().manual_seed(seed)
    ids = [torch.randint(vocab, (length,), generator=rng).tolist() for length in lengths]
    return padded([Text.answer(row, 1, number) for number, row in enumerate(ids)], 999)


def study(student, signal, batch: TextBatch, extra=None) -> Study:
    return Study(batch, Positions.of(batch), student, signal, lambda p, q, label_X: p, 0, extra)
