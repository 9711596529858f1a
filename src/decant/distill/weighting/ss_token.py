"""Tokens whose loss has fallen since an earlier state of the student, and that look at the prompt.

Both scores are laid over [0, 1] within a text. Prompt means all that has no weight in front of the first token that
has one.
Source: Qin et al. 2025, arXiv:2510.18250 (ssToken).
"""

from dataclasses import dataclass
from typing import Any, ClassVar, final

import torch
from torch import Tensor

from decant.distill.choosing import best, evened, scaled
from decant.distill.seams import Study, Teacher, by_chunks
from decant.errors import BadInput
from decant.models.attending import attention
from decant.models.student import Looks


@final
@dataclass(frozen=True, slots=True, eq=False)
class SsToken:
    """history: an earlier state of the student, as a teacher. network: the student's.

    layer: whose attention, counted from 0, from the last where negative. rho: the share of a text's tokens that are
    kept. gamma: of the loss in the score; attention has the rest. even: as in `AdaSpec`.
    """

    history: Teacher
    network: Any
    layer: int = -2
    rho: float = 0.6
    gamma: float = 0.5
    even: bool = True

    reruns: ClassVar[bool] = True  # a layer of the student, outside of its own pass

    def __post_init__(self) -> None:
        if not 0 < self.rho <= 1 or not 0 <= self.gamma <= 1:
            raise BadInput(f"rho lies in (0, 1] and gamma in [0, 1], got {self.rho} and {self.gamma}")
        if not -self.depth <= self.layer < self.depth:
            raise BadInput(f"layer {self.layer} is none of the student's {self.depth}")

    @property
    def depth(self) -> int:
        """Layers of the student."""
        return self.network.config.get_text_config().num_hidden_layers

    @property
    def looks(self) -> Looks:
        """What enters the layer."""
        return Looks(layers=(self.layer % self.depth,))

    def start(self) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def weights(self, state: None, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N."""
        at = study.at
        score_N = self.gamma * scaled(self._fallen(study), at.row_N)
        if self.gamma < 1:
            score_N = score_N + (1 - self.gamma) * scaled(self._looking(study), at.row_N)
        factor_N = best(score_N, at.row_N, self.rho).to(nats_N)
        return evened(factor_N, at.weight_N, at.row_N) if self.even else factor_N

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""

    def _fallen(self, study: Study) -> Tensor:
        """nats_N: the loss of each token then, less its loss now."""
        at, thought = study.at, self.history.signal(study.batch, study.at)

        def fallen(rows: slice) -> Tensor:
            then, now, label_X = thought.law(rows).beside(study.student.logp(rows), at.label_N[rows])
            return (now - then).gather(-1, label_X[:, None])[:, 0]

        return by_chunks(len(at), study.student.vocab, fallen)

    def _looking(self, study: Study) -> Tensor:
        """mass_N: what the token itself, not the one before it, gives to the prompt, the mean over heads."""
        at, layer = study.at, self.layer % self.depth
        weights_BT = study.batch.weights_BT
        found_N = torch.zeros_like(at.weight_N)
        for row in range(len(weights_BT)):  # one text at a time: memory grows with its length squared
            mine_N = at.row_N == row
            if mine_N.any():  # sync: a text in which nothing counts has no prompt either
                given = int((weights_BT[row] > 0).nonzero()[0])
                mass_HT = attention(self.network, study.student.layers[layer][row : row + 1], layer)[0, ..., :given]
                found_N[mine_N] = mass_HT.sum(-1).mean(0)[at.at_N[mine_N] + 1].to(found_N)
        return found_N
