"""Walk back through the time of masking as `ancestral` does, but let settled places open again with a chance sigma at
each step, so that what was said too early can be said anew; the share of open places stays that of the walk.

Source: Wang et al. 2025, arXiv:2503.00307 (ReMDM).
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn
from decant.errors import BadInput
from decant.noise import Noise
from decant.types import PAD

TIME: Final = "time of settling"  # that of `ancestral`, so that without sigma both say the same
OPENING: Final = "opening again"
AGAIN: Final = "said again"
DEFAULT: Final = {"cap": 0.008, "rescale": 0.015, "conf": 1.0}  # the authors'


@final
@dataclass(frozen=True, slots=True, eq=False)
class Walk:
    """Where the walks of a batch are. step_B: steps made. Of each place: open_BL: whether it is open; mine_BL: whether
    it may open again; left_BL: chance that it stayed open as long as it is; times_BL: how often it opened again;
    sure_BL: its confidence when it settled."""

    step_B: Tensor
    open_BL: Tensor
    mine_BL: Tensor
    left_BL: Tensor
    times_BL: Tensor
    sure_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class ReMDM:
    """grid: steps from all masked to none, of each block where a schedule has blocks: an answer, or block, settles in
    so many passes at most. kind: sigma is at most eta (cap); or eta of the largest possible (rescale); or that shared
    out among the settled places, more to those that were less sure when they settled (conf). eta: none: the authors';
    0: nothing opens again."""

    grid: int = 64
    kind: Literal["cap", "rescale", "conf"] = "conf"
    eta: float | None = None
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.grid < 1 or self.kind not in DEFAULT or not 0 <= self.strength <= 1:
            raise BadInput(
                f"remdm needs a grid of 1 step or more, eta between 0 and 1, and kind cap, rescale or conf; got "
                f"{self.grid}, {self.strength:g} and {self.kind}"
            )

    @property
    def strength(self) -> float:
        """Eta."""
        return DEFAULT.get(self.kind, 0.0) if self.eta is None else self.eta

    def start(self, canvas_BL: Tensor, noise: Noise) -> Walk:
        """Before the first step."""
        zero_BL = torch.zeros_like(canvas_BL)
        none_BL = torch.zeros_like(canvas_BL, dtype=torch.bool)
        return Walk(zero_BL[:, 0], none_BL, none_BL, zero_BL.double(), zero_BL, zero_BL.float())

    def reveal(self, state: Walk, seen: Outlook, turn: Turn) -> tuple[Reveal, Walk]:
        """The walk, up to the next step that changes what a pass would see: steps without a change need none, nor do
        those behind the last open place, where places can only open."""
        open_BL, old_B1 = turn.eligible_BL, (state.step_B > 0)[:, None]
        known_BL = state.mine_BL & old_B1
        walk = replace(
            state,
            open_BL=open_BL,
            mine_BL=known_BL | open_BL,
            left_BL=state.left_BL.masked_fill(open_BL & ~known_BL, 1.0),
        )
        tokens_BL, sure_BL = self._said(seen, state.times_BL)
        settled_BL = again_BL = torch.zeros_like(open_BL)
        walks_B = open_BL.any(-1)
        while bool(walks_B.any()):  # sync: a request walks until something changes, at most to the end of its grid
            settles_BL, opens_BL, walk = self._step(walk, walks_B, seen, sure_BL)
            settled_BL, again_BL = settled_BL | settles_BL, again_BL | opens_BL
            changed_B = (settles_BL | opens_BL).any(-1) & walk.open_BL.any(-1)
            walks_B = walks_B & ~changed_B & (walk.step_B < self.grid)
        walk = replace(walk, step_B=walk.step_B % self.grid)  # the next block begins a walk of its own
        return Reveal(tokens_BL, settled_BL, again_BL), walk

    def sigma(self, walk: Walk) -> tuple[Tensor, Tensor]:
        """sigma_BL of settled places, and of open ones sigma_B."""
        kept_B, later_B = self._kept(walk.step_B)
        most_B = torch.where(kept_B > 0, (1 - later_B) / kept_B.clamp_min(1e-12), 1.0).clamp_max(1.0)
        if self.kind == "conf":
            settled_BL = walk.mine_BL & ~walk.open_BL
            share_BL = (-walk.sure_BL.double()).masked_fill(~settled_BL, -torch.inf).softmax(-1).nan_to_num(0.0)
            return self.strength * most_B[:, None] * share_BL, torch.zeros_like(most_B)
        sigma_B = most_B.clamp_max(self.strength) if self.kind == "cap" else self.strength * most_B
        return sigma_B[:, None].expand(walk.open_BL.shape), sigma_B

    def _step(self, walk: Walk, walks_B: Tensor, seen: Outlook, sure_BL: Tensor) -> tuple[Tensor, Tensor, Walk]:
        """(settles_BL, opens_BL, walk) of one step of the requests that walk."""
        sigma_BL, sigma_B = self.sigma(walk)
        kept_B, later_B = self._kept(walk.step_B)
        stays_B = ((1 - later_B - sigma_B * kept_B) / (1 - kept_B)).clamp_min(0.0)
        left_BL = torch.where(walks_B[:, None], walk.left_BL * stays_B[:, None], walk.left_BL)
        place_1L = torch.arange(sure_BL.shape[1], device=sure_BL.device)[None]
        # A time that is drawn once for as long as a place is open, rather than a coin a step: the law is the same.
        due_BL = seen.noise.uniform(place_1L, TIME, walk.times_BL) < 1 - left_BL
        opening_BL = seen.noise.uniform(place_1L, OPENING, walk.step_B[:, None]) < sigma_BL
        settles_BL = walk.open_BL & due_BL & walks_B[:, None]
        opens_BL = walk.mine_BL & ~walk.open_BL & opening_BL & walks_B[:, None]
        after = Walk(
            step_B=walk.step_B + walks_B,
            open_BL=walk.open_BL & ~settles_BL | opens_BL,
            mine_BL=walk.mine_BL,
            left_BL=left_BL.masked_fill(opens_BL, 1.0),
            times_BL=walk.times_BL + opens_BL,
            sure_BL=sure_BL.where(settles_BL, walk.sure_BL),
        )
        return settles_BL, opens_BL, after

    def _kept(self, step_B: Tensor) -> tuple[Tensor, Tensor]:
        """The share of settled places before a step, and behind it."""
        return step_B.double() / self.grid, ((step_B + 1).double() / self.grid).clamp_max(1.0)

    def _said(self, seen: Outlook, times_BL: Tensor) -> tuple[Tensor, Tensor]:
        """tokens_BL and how sure they are. A place that opened again draws with a number of its own: with its first
        one it would say what it said before."""
        times_N, token_N = times_BL[seen.row_N, seen.place_N], seen.guess_N
        anew_R = (times_N > 0).nonzero()[:, 0]  # sync: sums over all tokens are dear
        sums_RV = seen.warp(seen.logits_NV[anew_R]).softmax(-1).double().cumsum(-1)
        chance_R = seen.noise.select(seen.row_N[anew_R]).uniform(seen.place_N[anew_R], AGAIN, times_N[anew_R])
        drawn_R = (sums_RV <= chance_R[:, None] * sums_RV[:, -1:]).sum(-1)
        token_N = token_N.index_copy(0, anew_R, drawn_R)
        sure_N = seen.probs_NV.gather(-1, token_N[:, None])[:, 0]
        return seen.table(token_N, PAD), seen.table(sure_N, 0.0)
