"""The target's own first layers guess, with its own norm and head.

Weights and cache are the target's (`models/early_exit.py`): nothing is loaded besides, no prompt is read twice, and any
exit can be taken in any round. A target that was not trained to be left early guesses badly (`distill/early_exit.py`).
Source: Elhoushi et al. 2024, arXiv:2404.16710 (LayerSkip).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.drafting.growing import grown
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Exits, Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class EarlyExit:
    """Draw from the first `exit` layers, level by level; None: a third of them. A shape that names an exit has its way.

    exits:   the target's layers.
    coupled: draw with the target's own noise (see `growing.grown`).

    Raises BadInput for an exit that the target does not have.
    """

    exits: Exits
    exit: int | None = None
    coupled: bool = True

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.exit is not None and not 1 <= self.exit <= self.exits.layers:
            raise BadInput(f"early-exit leaves after 1 to {self.exits.layers} layers of this target, not {self.exit}")

    def start(self, prompt_BT: Tensor, prefill: Scores) -> None:
        """Nothing to remember: what was read lies in the target's cache."""

    def draft(self, state: None, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """`context`: the target's own."""
        chosen = shape.exit or self.exit or max(1, self.exits.layers // 3)
        return grown(self.exits.guess(context, (chosen,), _anyhow), shape, warp, noise, self.coupled)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


def _anyhow(logits_RV: Tensor) -> Tensor:
    """There is one exit, so that it does not matter how sure it is."""
    return torch.ones_like(logits_RV[:, 0], dtype=torch.bool)
