"""Settle the surest places, and drop what lies behind the end of the text: later passes compute less.

The end is the leftmost end token that has settled; one of which the model is sure settles at once. While a place in
front of it is open, what may still settle stays, so that only later blocks are dropped; so does what stands in front of
a place that holds a token, so that a canvas never has a hole. The authors' code cuts behind the likeliest end token,
however unlikely it is, and stops after a few tokens where a canvas is flooded with them early. What is dropped was read
until then, so that tokens in front of the end may differ: lossy. The crank must know the same ends, or it waits for
places that nobody fills.
Source: Bao et al. 2025, arXiv:2509.25188 (Learn2PD, end-of-text prediction).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, ranked
from decant.errors import BadInput
from decant.noise import Noise
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True)
class EndOfText:
    """per_step: places that settle in a step, where the schedule does not say.

    sure: the least probability, before any warp, with which an end token settles out of turn; above 1 none does.
    mask: the id of an open place. ends: ids that end a text.
    """

    mask: int
    ends: frozenset[int]
    per_step: int = 1
    sure: float = 0.9
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.per_step < 1 or not self.sure > 0:
            raise BadInput(
                f"end-of-text needs per_step of 1 or more and sure above 0, got per_step {self.per_step}, sure "
                f"{self.sure:g}"
            )

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered: what is settled tells."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """Ranked by confidence, the leftmost end that is sure, and what falls away."""
        open_BL = seen.canvas_BL == self.mask
        sure_BL = turn.eligible_BL & self._ends(seen.guess_BL) & (seen.confidence_BL >= self.sure)
        sure_BL = sure_BL & (sure_BL.cumsum(-1) == 1)
        settled_BL = open_BL & (ranked(seen, turn, seen.confidence_BL, self.per_step).settled_BL | sure_BL)
        dropped_BL = self._behind(seen.guess_BL.where(settled_BL, seen.canvas_BL), turn.eligible_BL)
        return Reveal(seen.guess_BL.masked_fill(dropped_BL, PAD), settled_BL | dropped_BL), None

    def _behind(self, canvas_BL: Tensor, eligible_BL: Tensor) -> Tensor:
        """dropped_BL: open places behind the end; eligible_BL: those that the schedule has in hand."""
        place_L = torch.arange(canvas_BL.shape[1], device=canvas_BL.device)
        open_BL, end_BL = canvas_BL == self.mask, self._ends(canvas_BL)
        first_B1 = place_L.where(end_BL, len(place_L)).amin(-1, keepdim=True)
        waits_B1 = (open_BL & (place_L < first_B1)).any(-1, keepdim=True)
        stays_BL = (~open_BL & (canvas_BL != PAD)) | (eligible_BL & waits_B1)
        last_B1 = place_L.where(stays_BL, -1).amax(-1, keepdim=True)
        return open_BL & end_BL.any(-1, keepdim=True) & (place_L > last_B1)

    def _ends(self, ids_BL: Tensor) -> Tensor:
        """bool_BL: where an end token is."""
        return torch.isin(ids_BL, torch.tensor(sorted(self.ends), dtype=ids_BL.dtype, device=ids_BL.device))
