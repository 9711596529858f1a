"""Several constraints as one: each sees the logits that those before it left.

Source: the composition of functions; the order is the caller's, as that of logits processors in transformers.
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from decant.numerics import along_path
from decant.protocols import Constraint, Forces
from decant.types import PAD, Draft, Scores, Verdict


@final
@dataclass(frozen=True, slots=True)
class Several:
    """parts: the first acts first."""

    parts: tuple[Constraint[Any], ...]

    def start(self, prompt_BT: Tensor) -> tuple[Any, ...]:
        """A state of each."""
        return tuple(part.start(prompt_BT) for part in self.parts)

    def adjust(self, state: tuple[Any, ...], draft: Draft, logits_BMV: Tensor) -> Tensor:
        """One after the other."""
        for part, own in zip(self.parts, state, strict=True):
            logits_BMV = part.adjust(own, draft, logits_BMV)
        return logits_BMV

    def observe(self, state: tuple[Any, ...], verdict: Verdict, scores: Scores) -> tuple[Any, ...]:
        """Each sees the path that was kept, as those before it left it."""
        path = Draft(verdict.tokens_BC[:, :-1])  # the last is the target's own, behind the last row
        slots_C = torch.arange(verdict.nodes_BC.shape[1], device=verdict.nodes_BC.device)
        kept = Verdict(verdict.tokens_BC, slots_C.where(verdict.nodes_BC != PAD, PAD))
        logits_BCV = along_path(scores.logits_BMV, verdict.nodes_BC).float()
        found = []
        for part, own in zip(self.parts, state, strict=True):
            found.append(part.observe(own, kept, Scores(logits_BCV)))
            logits_BCV = part.adjust(own, path, logits_BCV)
        return tuple(found)

    def forced(self, state: tuple[Any, ...], depth: int) -> Tensor:
        """tokens_BN of the first part that forces anything: guesses, whatever the others make of them."""
        for part, own in zip(self.parts, state, strict=True):
            if isinstance(part, Forces):
                return part.forced(own, depth)
        return torch.empty(0, 0, dtype=torch.int64)
