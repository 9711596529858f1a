"""Approximate likelihood matching: two models with different tokenizers give the same chunks of text the same
probability, each chunk being a coin that comes down as the text or not.

A chunk's nats lie on its last student position (`distill.chunks`). With the cross-entropy the value at equality is the
coin's entropy; its gradient there is zero. Curricula, which mix laws, have no say here.

Source: Minixhofer et al. 2025, arXiv:2503.20083 (with the defaults of its code, bminixhofer/tokenkit).
"""

from dataclasses import dataclass
from math import log
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.distill.chunks import Chunks, Side, Spans, placed, runs, said, spans_of
from decant.distill.seams import Divergence, Gives, Study
from decant.errors import BadInput
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True)
class ALM:
    """Chunk probabilities to the power of 1 / temperature, compared as coins.

    threshold:  "these tokens, then anything" is not one event in two tokenizers. Chunks are joined until the teacher
                puts more than this on a white space or a control behind them, and then that is a part of the event on
                both sides. None: no debiasing, every chunk by itself.
    divergence: of the two coins; None is their cross-entropy.
    epsilon:    keeps a sure chunk's coin from log 0.
    """

    temperature: float = 100.0
    threshold: float | None = 0.1
    divergence: Divergence | None = None
    epsilon: float = 1e-6

    needs: ClassVar[Gives] = "spans"

    def __post_init__(self) -> None:
        if self.temperature <= 0 or self.epsilon <= 0:
            raise BadInput(f"temperature and epsilon must be above 0, got {self.temperature} and {self.epsilon}")

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal = spans_of(study)
        p_M, p_opens_M = signal.said()
        q_N, q_opens_N = said(study.student, study.at.label_N, signal.shared.q_opens_O)
        chunks = self.debiased(signal, p_opens_M)
        p_C, q_C = chunks.p.total(p_M), chunks.q.total(q_N)
        if self.threshold is not None:
            p_C, q_C = p_C + _behind(chunks, chunks.p, p_opens_M), q_C + _behind(chunks, chunks.q, q_opens_N)
        return placed(self.matched(p_C, q_C), chunks.q.last_C, study)

    def debiased(self, signal: Spans, p_opens_M: Tensor) -> Chunks:
        """Neighbours joined up to where both tokenizers surely cut; what never gets there is left out."""
        chunks = signal.chunks
        if self.threshold is None:
            return chunks
        likely_C = p_opens_M[chunks.p.after_C] > log(self.threshold)
        known_C = (chunks.q.after_C != PAD) & (chunks.p.after_C != PAD)
        sure_C = chunks.control_C | (known_C & likely_C)
        found = runs(chunks.linked_C.tolist(), sure_C.tolist())  # sync: runs are found on the host
        begin_G, end_G = torch.tensor(found, dtype=torch.int64, device=sure_C.device).reshape(-1, 2).T
        return chunks.joined(begin_G, end_G)

    def matched(self, p_logp_C: Tensor, q_logp_C: Tensor) -> Tensor:
        """nats_C between log-probabilities of the same chunks; what is above 0 by rounding is 0."""
        p_C2, q_C2 = (self._coin(one) for one in (p_logp_C, q_logp_C))
        if self.divergence is not None:
            return self.divergence(p_C2, q_C2)
        return -(p_C2.exp() * q_C2).sum(-1)

    def _coin(self, logp_C: Tensor) -> Tensor:
        text_C = logp_C.clamp_max(0) / self.temperature - self.epsilon
        return torch.stack([text_C, log1mexp(text_C)], -1)


def _behind(chunks: Chunks, side: Side, opens_X: Tensor) -> Tensor:
    """logp_C of a white space or a control behind each; behind a control nothing needs to be said."""
    if not len(opens_X):
        return opens_X.new_zeros(len(chunks))
    return opens_X[side.after_C].where(~chunks.control_C, 0)


def log1mexp(logp_X: Tensor) -> Tensor:
    """log(1 - exp(x)) for x below 0, without losing digits near 0 or far from it.

    Source: Mächler 2012, "Accurately computing log(1 - exp(-|a|))".
    """
    near_X = logp_X > -log(2)
    close_X, far_X = logp_X.where(near_X, -0.5), logp_X.where(~near_X, -1.0)
    return torch.where(near_X, (-torch.expm1(close_X)).log(), torch.log1p(-far_X.exp()))
