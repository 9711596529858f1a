"""Settle every place whose guess is likely enough.

Source: Wu et al. 2025, arXiv:2505.22618 (Fast-dLLM).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Threshold:
    """tau: the least probability of a guess before any warp; above 1 one place settles a step."""

    tau: float = 0.9
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise BadInput(f"tau is a probability above 0, got {self.tau:g}; above 1 settles one place a step")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Every guess that clears the bar; the decoder sees to one at least."""
        return Reveal(seen.guess_BL, turn.eligible_BL & (seen.confidence_BL >= self.tau)), None
