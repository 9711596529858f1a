"""Settle every place whose guess is likely enough; where there is none, as many as a grid of times says.

Source: Yu et al. 2025, arXiv:2505.16990 (Dimple, confident decoding).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class Confident:
    """mask: the id of an open place. tau: a guess settles whose probability, before any warp, is larger; at 1 the grid
    alone decides. steps: of the grid, hence the most that there are; None: one for each place.

    The grid ends at time 0, not a thousandth before it as in the paper: one step a place is then one place a step.
    """

    mask: int
    tau: float = 0.95
    steps: int | None = None
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise BadInput(f"tau is a probability above 0, got {self.tau:g}; 1 settles what the grid says")
        if self.steps is not None and self.steps < 1:
            raise BadInput(f"steps is 1 or more, got {self.steps}; leave it out for one a place")

    def start(self, canvas_BL: Tensor, noise: Noise) -> Tensor:
        """opened_B: places that are open in the beginning."""
        return (canvas_BL == self.mask).sum(-1)

    def reveal(self, state: Tensor, seen: Outlook, turn: Turn) -> tuple[Reveal, Tensor]:
        """A quota of the schedule takes the grid's place."""
        sure_BL = turn.eligible_BL & (seen.confidence_BL > self.tau)
        count_B = self._due(state, (seen.canvas_BL == self.mask).sum(-1)) if turn.quota_B is None else turn.quota_B
        due_BL = surest(seen.confidence_BL, turn.eligible_BL, count_B.clamp_min(1))
        return Reveal(seen.guess_BL, sure_BL | (due_BL & ~sure_BL.any(-1, keepdim=True))), state

    def _due(self, opened_B: Tensor, open_B: Tensor) -> Tensor:
        """count_B at the next time of the grid at which it is 1 or more.

        At time s, 1 in the beginning and 0 in the end, floor(s * opened) places would be open, all but rounding.
        """
        opened_B = opened_B.clamp_min(1)
        steps = opened_B if self.steps is None else self.steps
        settled_B = opened_B - open_B
        time_B = -(-steps * (settled_B + 1) // opened_B)  # rounded up
        return time_B * opened_B // steps - settled_B
