"""Every open place may settle at any time.

Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA, without blocks).
"""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.diffusion import Outlook, Scope, Turn
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True)
class Full:
    """mask: the id of an open place."""

    mask: int

    def start(self, canvas_BL: Tensor) -> None:
        """Nothing is remembered."""

    def scope(self, state: None, canvas_BL: Tensor) -> Scope:
        """The whole canvas."""
        return Scope(canvas_BL != PAD, canvas_BL == self.mask)

    def turn(self, state: None, scope: Scope, seen: Outlook) -> tuple[Turn, None]:
        """All that are open."""
        return Turn(seen.canvas_BL == self.mask), None
