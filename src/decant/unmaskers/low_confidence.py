"""Settle the places whose guess is likeliest; the rest is "remasked", as the paper calls it.

Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA); Chang et al. 2022, arXiv:2202.04200 (MaskGIT).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class LowConfidence:
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
        """Ranked by confidence."""
        return ranked(seen, turn, seen.confidence_BL, self.per_step), None
