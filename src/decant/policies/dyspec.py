"""A tree of draws that grows where the next guess is likeliest to be needed.

A *slot* is where one more child of a node could be drawn. Its worth is the chance, as the drafter sees it, that
everything drawn so far is refused there and everything above kept: of the j-th child, the chance of the node times what
its earlier children leave of the law. Slots are filled by worth, before anybody knows what they will say.

Source: Xiong et al. 2024, arXiv:2410.11744.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.drafting.growth import Children, Level, ascending
from decant.errors import BadInput
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class DySpec:
    """The `budget` slots of the largest worth, down to `depth` levels and to the worth `threshold`, every time.

    threshold: slots worth no more stay empty; None: 1 / budget. The lower, the more slots the drafter looks at before
        the best are chosen: at 0 this is the paper's heap; it is asked once a level all the same.
    Raises BadInput unless budget >= 1, depth >= 0 and the threshold lies in [0, 1).
    """

    budget: int = 32
    threshold: float | None = None
    depth: int = 8

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.budget < 1 or self.depth < 0 or not 0 <= (self.threshold or 0.0) < 1:
            raise BadInput(
                f"dyspec needs budget >= 1, depth >= 0 and a threshold in [0, 1), got budget {self.budget}, depth "
                f"{self.depth}, threshold {self.threshold}"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same rule of growth."""
        growth = Slots(self.budget, 1 / self.budget if self.threshold is None else self.threshold)
        return DraftShape(self.depth, self.budget, self.budget, growth=growth, siblings="without_replacement")

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Worths:
    """worth_BN: of the slot that each node fills, 0 where there is none; reach_BL: how likely the rows that come are to
    be reached."""

    worth_BN: Tensor
    reach_BL: Tensor


@final
@dataclass(frozen=True, slots=True)
class Slots:
    """The growth. A slot is worth no more than the slot that its node fills, nor than its elder sibling, so the largest
    are a tree; and what they are worth never depends on what is drawn in them."""

    nodes: int
    threshold: float

    def within(self, nodes: int, depth: int) -> "Slots":
        """Fewer slots."""
        return replace(self, nodes=min(self.nodes, nodes))

    def start(self, batch: int, device: torch.device) -> Worths:
        """The root is certain. Float64: of equal worths the elder must not be the smaller."""
        worth_B0 = torch.empty(batch, 0, dtype=torch.float64, device=device)
        return Worths(worth_B0, torch.ones(batch, 1, dtype=torch.float64, device=device))

    def grow(self, state: Worths, level: Level) -> tuple[Worths, Children]:
        """Fill the best slots of every row; evaluate next what could still have one of the best."""
        level = replace(level, apart=True)
        tokens_BLW = level.children(self.nodes)
        worth_BLW, reach_BLW = _slots(state.reach_BL, level, tokens_BLW)
        worth_BC, at_BC = worth_BLW.flatten(1).sort(dim=1, descending=True, stable=True)
        worth_BC = worth_BC[:, : self.nodes]
        filled_BC = worth_BC > self.threshold
        count = int(filled_BC.sum(-1).max())  # sync: absent nodes cost a row each
        worth_BC, filled_BC, at_BC = worth_BC[:, :count], filled_BC[:, :count], at_BC[:, :count]
        above_BC = level.rows_BL.gather(1, at_BC // tokens_BLW.shape[2]) - 1
        first, worth_BN = state.worth_BN.shape[1], torch.cat([state.worth_BN, worth_BC.where(filled_BC, 0)], 1)
        reach_BC = reach_BLW.flatten(1).gather(1, at_BC)
        least_B1 = self._least(worth_BN)
        next_BE = ascending(filled_BC & (reach_BC > least_B1))
        children = Children(
            tokens_BLW.flatten(1).gather(1, at_BC).where(filled_BC, PAD),
            above_BC.where(filled_BC, PAD),
            (next_BE + first).where(next_BE != PAD, PAD),
        )
        return Worths(worth_BN, reach_BC.gather(1, next_BE.clamp_min(0)).where(next_BE != PAD, 0)), children

    def kept(self, state: Worths) -> Tensor:
        """The slots of the largest worth."""
        order_BN = state.worth_BN.argsort(dim=1, descending=True, stable=True)[:, : self.nodes]
        kept_BN = torch.zeros_like(state.worth_BN, dtype=torch.bool).scatter(1, order_BN, value=True)
        return ascending(kept_BN & (state.worth_BN > 0))

    def _least(self, worth_BN: Tensor) -> Tensor:
        """worth_B1 that a slot must exceed to be among the best."""
        if worth_BN.shape[1] < self.nodes:
            return worth_BN.new_full((len(worth_BN), 1), self.threshold)
        return worth_BN.topk(self.nodes, 1).values[:, -1:].clamp_min(self.threshold)


def _slots(reach_BL: Tensor, level: Level, tokens_BLW: Tensor) -> tuple[Tensor, Tensor]:
    """worth_BLW of the slots that these children fill, and reach_BLW of the children; 0 where a child is absent."""
    chance_BLV = level.chance_BLV.double()
    chance_BLW = chance_BLV.gather(-1, tokens_BLW.clamp_min(0)).where(tokens_BLW != PAD, 0)
    rest_BL1 = (chance_BLV.sum(-1, keepdim=True) - chance_BLW.sum(-1, keepdim=True)).clamp_min(0)
    # Summed from the youngest on: what is left never falls below the child's own chance, not even by rounding.
    left_BLW = torch.maximum((chance_BLW.flip(-1).cumsum(-1) + rest_BL1).flip(-1), chance_BLW)
    there_BLW = (tokens_BLW != PAD) & (chance_BLW > 0)
    scale_BL1 = reach_BL[..., None] / left_BLW[..., :1]
    return (scale_BL1 * left_BLW).where(there_BLW, 0), (scale_BL1 * chance_BLW).where(there_BLW, 0)
