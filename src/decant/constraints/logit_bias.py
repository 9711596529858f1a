"""Logit bias: something is added to the logits of chosen tokens, whatever was said.

Source: OpenAI's API reference, logit_bias.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.types import Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class LogitBias:
    """bias: (id, nats) pairs; -100 all but forbids a token, 100 all but demands it.

    Raises BadInput for a bias outside [-100, 100], a negative id or one that comes twice, and at the first step for an
    id that the model does not have.
    """

    bias: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        ids = [token for token, _ in self.bias]
        twice = len({*ids}) < len(ids)  # counting each takes time that grows with the square
        for token, nats in self.bias:
            if not -100 <= nats <= 100:
                raise BadInput(f"logit-bias must lie in [-100, 100], got {nats} for token {token}; 0 changes nothing")
            if token < 0:
                raise BadInput(f"logit-bias names token {token}; ids begin with 0")
            if twice and ids.count(token) > 1:
                raise BadInput(f"logit-bias names token {token} {ids.count(token)} times; leave one")

    def start(self, prompt_BT: Tensor) -> None:
        """Nothing to remember."""

    def adjust(self, state: None, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """The same for every row."""
        vocab = logits_BMV.shape[-1]
        largest = max((token for token, _ in self.bias), default=0)
        if largest >= vocab:
            raise BadInput(f"logit-bias names token {largest}, but the model has {vocab}; leave it out")
        ids_K = torch.tensor([token for token, _ in self.bias], dtype=torch.int64, device=logits_BMV.device)
        nats_K = logits_BMV.new_tensor([nats for _, nats in self.bias])
        return logits_BMV + logits_BMV.new_zeros(vocab).scatter(0, ids_K, nats_K)

    def observe(self, state: None, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""
