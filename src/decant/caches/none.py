"""Compute everything in every pass: what all caches are measured against.

Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA decodes so).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Fresh, Scope
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class NoCache:
    """Nothing is read from the store."""

    exact: ClassVar[bool] = True

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def fresh(self, state: None, canvas_BL: Tensor, scope: Scope) -> tuple[Fresh, None]:
        """Prompt and canvas."""
        return Fresh.whole(canvas_BL), None
