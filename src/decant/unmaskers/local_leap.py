"""Settle every place whose guess is likely enough, and with a lower bar what lies near one of them.

Source: Kong et al. 2025, arXiv:2510.07081 (LocalLeap).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor
from torch.nn.functional import max_pool1d

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class LocalLeap:
    """tau: the least probability, before any warp, of a guess that makes its place an anchor.

    relaxed: that of a guess at most `window` places away from one, on either side.
    """

    tau: float = 0.9
    relaxed: float = 0.75
    window: int = 4
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.relaxed <= self.tau:
            raise BadInput(f"relaxed lies above 0 and at tau, {self.tau:g}, at most; got {self.relaxed:g}")
        if self.window < 0:
            raise BadInput(f"window is a number of places, 0 or more, got {self.window}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered: what settled before is no anchor."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Distances are counted in places of the canvas, settled ones included."""
        anchor_BL = turn.eligible_BL & (seen.confidence_BL >= self.tau)
        reach = 2 * self.window + 1
        near_BL = max_pool1d(anchor_BL.float()[:, None], reach, stride=1, padding=self.window)[:, 0] > 0
        leap_BL = turn.eligible_BL & near_BL & (seen.confidence_BL >= self.relaxed)
        return Reveal(seen.guess_BL, anchor_BL | leap_BL), None
