"""A tree that follows the drafter's confidence: its likeliest paths grow on, and the likeliest nodes of all are kept.

EAGLE-2 keeps a fixed number of nodes, tuned for a GPU. Here each draft keeps as many as pay by this machine's measured
costs: the product of a path's chances is how likely its last node is needed, so their sum is the tokens to be expected.
Source: Li et al. 2024, arXiv:2406.16858 (EAGLE-2).
"""

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.drafting.growth import Children, Level, ascending
from decant.errors import BadInput
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class DynamicTree:
    """`depth` levels; on each the `width` likeliest new nodes get `width` children each; in the end at most `budget`
    of the likeliest nodes of all stay: those with the most tokens a second.

    target_costs: seconds of a pass by its rows; None: a node more costs nothing, and the whole budget stays. Each
        request chooses as if it were alone.

    Guesses are chosen, not drawn, so any verifier of fixed guesses loses nothing. The drafter is asked once a level.
    Raises BadInput unless depth >= 0 and width and budget are above 0.
    """

    depth: int = 6
    width: int = 8
    budget: int = 48
    target_costs: CostCurve | None = field(default=None, repr=False)

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.depth < 0 or self.width < 1 or self.budget < 1:
            raise BadInput(
                f"dynamic-tree needs depth >= 0, width >= 1 and budget >= 1, got depth {self.depth}, width "
                f"{self.width}, budget {self.budget}; to guess nothing take the method plain"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same rule of growth."""
        growth = Reranked(self.width, self.budget, self.target_costs)
        return DraftShape(self.depth, self.width, self.budget, growth=growth, siblings="fixed")

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """logp_BN: how likely the path to each node is, -inf where there is none; next_BL: that of the rows that come."""

    logp_BN: Tensor
    next_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class Reranked:
    """The growth. A path is as likely as the product of its tokens' chances, so no child comes before its parent."""

    width: int
    budget: int
    costs: CostCurve | None = None

    def within(self, nodes: int, depth: int) -> "Reranked":
        """A smaller budget."""
        return replace(self, budget=min(self.budget, nodes))

    def start(self, batch: int, device: torch.device) -> Paths:
        """The root is certain."""
        return Paths(torch.empty(batch, 0, device=device), torch.zeros(batch, 1, device=device))

    def grow(self, state: Paths, level: Level) -> tuple[Paths, Children]:
        """The best children of every row; the best of these are evaluated next."""
        tokens_BLW = level.children(self.width)
        chance_BLW = level.chance_BLV.gather(-1, tokens_BLW.clamp_min(0))
        # What the warp forbids the drafter may still be allowed to the target: the last resort, not impossible.
        step_BLW = chance_BLW.clamp_min(torch.finfo(chance_BLW.dtype).tiny).log().clamp_max(0)
        logp_BLW = (state.next_BL[..., None] + step_BLW).where(tokens_BLW != PAD, -torch.inf)
        parents_BLW = (level.rows_BL - 1).clamp_min(PAD)[..., None].expand_as(tokens_BLW)
        first, logp_BC = state.logp_BN.shape[1], logp_BLW.flatten(1)
        # A stable sort: the elder of two equals is kept, so that no parent is dropped before its child.
        best_BE, at_BE = (part_BC[:, : self.width] for part_BC in logp_BC.sort(dim=1, descending=True, stable=True))
        next_BE = (at_BE + first).where(best_BE > -torch.inf, PAD)
        grown = Paths(torch.cat([state.logp_BN, logp_BC], 1), best_BE)
        return grown, Children(tokens_BLW.flatten(1), parents_BLW.flatten(1), next_BE)

    def kept(self, state: Paths) -> Tensor:
        """The likeliest of all."""
        logp_BN, order_BN = state.logp_BN.sort(dim=1, descending=True, stable=True)
        logp_BN, order_BN = logp_BN[:, : self.budget], order_BN[:, : self.budget]
        stays_BN = logp_BN > -torch.inf
        if self.costs is not None:
            stays_BN = stays_BN & self._pay(logp_BN.exp(), self.costs)
        kept_BN = torch.zeros_like(state.logp_BN, dtype=torch.bool).scatter(1, order_BN, stays_BN)
        return ascending(kept_BN)

    def _pay(self, chance_BN: Tensor, costs: CostCurve) -> Tensor:
        """The first so many of nodes in order, likeliest first, that give the most tokens a second; perhaps none."""
        rank_N = torch.arange(chance_BN.shape[1], device=chance_BN.device)
        price_M = torch.tensor([costs.seconds(rows) for rows in range(1, len(rank_N) + 2)], device=chance_BN.device)
        tokens_BM = 1 + pad(chance_BN.cumsum(1), (1, 0))
        return rank_N < (tokens_BM / price_M).argmax(1, keepdim=True)
