"""Adaptive beta: each position counts as the contrastive teacher says: more where its two models agree.

Source: Zhang et al. 2025, arXiv:2503.02832 (AlignDistil; the factor beta / w was read in the authors' code).
"""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from torch import Tensor

from decant.distill.seams import Study, by_chunks
from decant.errors import IncompatibleParts


@runtime_checkable
class Factored(Protocol):
    """A signal that says how much its positions count."""

    def factor(self, rows: slice) -> Tensor:
        """factor_X > 0."""
        ...


@final
@dataclass(frozen=True, slots=True)
class AdaptiveBeta:
    """beta / w. Raises IncompatibleParts for a teacher that has no such factor."""

    def start(self) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def weights(self, state: None, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N; the laws of both models are read once more."""
        if not isinstance(study.signal, Factored):
            raise IncompatibleParts("AdaptiveBeta asks the teacher how much a position counts; only Contrastive knows")
        return by_chunks(len(study.at), study.student.vocab, study.signal.factor).to(nats_N)

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
