"""Settle the places whose likeliest id is furthest ahead of the second.

Source: Ye et al. 2025, arXiv:2508.15487 (Dream); Kim et al. 2025, arXiv:2502.06768.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Margin:
    """per_step: places that settle in a step, where the schedule does not say."""

    per_step: int = 1
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_step < 1:
            raise BadInput(f"per_step is 1 or more, got {self.per_step}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Ranked by the difference of the two largest probabilities, as far as the guess is trusted."""
        first_N, second_N = seen.probs_NV.topk(2, dim=-1).values.unbind(-1)
        margin_N = first_N - second_N if seen.trust_N is None else (first_N - second_N) * seen.trust_N
        return ranked(seen, turn, seen.table(margin_N, 0.0), self.per_step), None
