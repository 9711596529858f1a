"""Settle every place whose guess is likely enough, where an id that keeps being the likeliest counts for more.

Each pass gives credit to the likeliest id of every open place; older credit fades; what an id has is added to its logit
before anything is chosen. A place that may not settle has none, so that none outlives its block.
Source: Wang et al. 2025, arXiv:2510.06133 (CreditDecoding).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise
from decant.types import PAD

SLOTS: Final = 8
"""Ids of a place that can have credit: few are ever the likeliest. A ninth takes the place of the one with least."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Credits:
    """Who has credit, place by place. S: slots of all places, K: of one.

    tokens_BS: ids, PAD in an empty slot. credit_BS: float32, 0 in an empty slot.
    """

    tokens_BS: Tensor
    credit_BS: Tensor


@final
@dataclass(frozen=True, slots=True)
class CreditDecoding:
    """tau: the least probability of a guess, with credit and before any warp.

    alpha: what log(1 + credit) is multiplied with; 0 leaves every logit as it is. beta: what is left of credit a pass
    later. gamma: the power of the probability that an id gets as credit.
    """

    tau: float = 0.9
    alpha: float = 0.7
    beta: float = 0.8
    gamma: float = 0.2
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.tau > 0:
            raise BadInput(f"tau is a probability above 0, got {self.tau:g}; above 1 settles one place a step")
        if not (self.alpha >= 0 and self.gamma >= 0):
            raise BadInput(f"alpha and gamma are 0 or more, got {self.alpha:g} and {self.gamma:g}")
        if not 0 <= self.beta <= 1:
            raise BadInput(f"beta lies between 0, which forgets, and 1, which keeps all credit, got {self.beta:g}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> Credits:
        """Nobody has credit."""
        tokens_BS = torch.full_like(canvas_BL, PAD).repeat_interleave(SLOTS, -1)
        return Credits(tokens_BS, torch.zeros_like(tokens_BS, dtype=torch.float32))

    def reveal(self, state: Credits, seen: Outlook, turn: Turn) -> tuple[Reveal, Credits]:
        """This pass counts; the surest place, with credit, always settles."""
        at, shape = (seen.row_N, seen.place_N), (*seen.canvas_BL.shape, SLOTS)
        tokens_NK, credit_NK = state.tokens_BS.view(shape)[at], state.credit_BS.view(shape)[at]
        tokens_NK, credit_NK = self._credited(tokens_NK, credit_NK, seen.probs_NV)
        bonus_NK = self.alpha * credit_NK.log1p()
        # An empty slot adds 0 to id 0.
        fused = seen.rethought(seen.logits_NV.scatter_add(-1, tokens_NK.clamp_min(0), bonus_NK))
        sure_BL = turn.eligible_BL & (fused.confidence_BL >= self.tau)
        settled_BL = sure_BL | surest(fused.confidence_BL, turn.eligible_BL, 1)
        kept_N = (turn.eligible_BL & ~settled_BL)[at]
        after = (
            state.tokens_BS.new_full(shape, PAD).index_put(at, tokens_NK.masked_fill(~kept_N[:, None], PAD)),
            state.credit_BS.new_zeros(shape).index_put(at, credit_NK.masked_fill(~kept_N[:, None], 0.0)),
        )
        return Reveal(fused.guess_BL, settled_BL), Credits(*(slots_BLK.flatten(1) for slots_BLK in after))

    def _credited(self, tokens_NK: Tensor, credit_NK: Tensor, probs_NV: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens and credit after this pass."""
        likely_N, best_N = probs_NV.max(-1)
        same_NK = tokens_NK == best_N[:, None]
        known_N1 = same_NK.any(-1, keepdim=True)
        slot_N1 = same_NK.to(torch.int8).argmax(-1, True).where(known_N1, credit_NK.argmin(-1, True))
        faded_NK = self.beta * credit_NK
        earned_N1 = faded_NK.gather(1, slot_N1).where(known_N1, 0.0) + likely_N[:, None] ** self.gamma
        return tokens_NK.scatter(1, slot_N1, best_N[:, None]), faded_NK.scatter(1, slot_N1, earned_N1)
