"""The tree with the most tokens a second, from how often the child of each rank was kept and what a row costs.

Source: Chen et al. 2024, arXiv:2402.12374. Their dynamic programme over positions comes down to the likeliest paths
where the chance of a rank does not depend on the node, as here.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.drafting.templates import likeliest
from decant.errors import BadInput
from decant.numerics import on_path
from decant.types import CostCurve, Draft, DraftShape, Path, Scores, Taps, Verdict

FLAT: Final = CostCurve((1,), (1.0,))  # a pass costs the same whatever it holds
PRIOR: Final = (0.6, 0.12)  # of the first child; of the others together with their rank: 0.12, 0.06, 0.04 ...
WEIGHT: Final = 4.0  # nodes that the prior counts for
STEP: Final = 0.02  # chances are rounded, so that few trees are looked for


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ranks:
    """What became of the children of each rank, older rounds discounted. kept_BK: how many were kept; tried_BK: on how
    many nodes of accepted paths there was one."""

    kept_BK: Tensor
    tried_BK: Tensor


@final
@dataclass(frozen=True, slots=True)
class Sequoia:
    """Of all trees of up to `budget` nodes, `depth` levels and `width` children the one with the least
    (drafting + target(rows)) / tokens, over the whole batch, which shares one pass. At least one node.

    memory: how much of the evidence stays from one round to the next.
    target_costs, draft_costs: seconds of a pass by its rows; a drafter that costs nothing has no curve.
    Raises BadInput unless budget, depth and width are above 0 and 0 < memory <= 1.
    """

    budget: int = 48
    depth: int = 8
    width: int = 8
    memory: float = 0.95
    target_costs: CostCurve = field(default=FLAT, repr=False)
    draft_costs: CostCurve | None = field(default=None, repr=False)

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if min(self.budget, self.depth, self.width) < 1 or not 0 < self.memory <= 1:
            raise BadInput(
                f"sequoia needs budget, depth and width >= 1 and 0 < memory <= 1, got budget {self.budget}, depth "
                f"{self.depth}, width {self.width}, memory {self.memory}"
            )

    def start(self, batch: int) -> Ranks:
        """Nothing is known; the state stays on the host, where the next shape is needed."""
        return Ranks(torch.zeros(batch, self.width), torch.zeros(batch, self.width))

    def shape(self, state: Ranks) -> DraftShape:
        """The best tree for the mean request."""
        prior_K = torch.tensor([PRIOR[0], *(PRIOR[1] / rank for rank in range(1, self.width))])
        rate_BK = (WEIGHT * prior_K + state.kept_BK) / (WEIGHT + state.tried_BK)
        # A younger child is there only beside its elders, so it cannot be worth more to a tree.
        chance_K = rate_BK.mean(0).cummin(0).values
        rounded = tuple(round(chance / STEP) * STEP for chance in chance_K.tolist())
        paths = _best(self, rounded, len(rate_BK))
        return DraftShape(max(map(len, paths)), template=paths)

    def observe(self, state: Ranks, draft: Draft, verdict: Verdict, scores: Scores) -> Ranks:
        """Which rank was kept on each node of the accepted path, out of the ranks that there were."""
        rank_BN, tried_BN, kept_BN = on_path(draft, verdict)
        is_BNK = rank_BN[..., None] == torch.arange(self.width, device=rank_BN.device)
        kept_BK, tried_BK = (
            (is_BNK & these_BN[..., None]).sum(1).cpu()  # sync: the next shape depends on it
            for these_BN in (kept_BN, tried_BN)
        )
        fade_B1 = torch.where(tried_BK.sum(-1, keepdim=True) > 0, self.memory, 1.0)
        return Ranks(state.kept_BK * fade_B1 + kept_BK, state.tried_BK * fade_B1 + tried_BK)


@lru_cache(maxsize=4096)
def _best(policy: Sequoia, chances: tuple[float, ...], batch: int) -> tuple[Path, ...]:
    """The tree of the most tokens a second where the child of a rank has this chance. O(depth^2 nodes)."""
    best: tuple[float, tuple[Path, ...]] | None = None
    for depth in range(1, policy.depth + 1):
        paths = likeliest((chances,) * depth, policy.budget)
        tokens, rows = 1.0, [0] * depth  # rows: nodes with children on each level, the root first
        for count, path in enumerate(paths, 1):
            tokens += prod(chances[rank] for rank in path)
            rows[len(path) - 1] += path[-1] == 0
            price = _seconds(policy, batch, count, rows) / tokens
            if best is None or price < best[0]:
                best = price, paths[:count]
    assert best is not None
    return best[1]


def _seconds(policy: Sequoia, batch: int, nodes: int, rows: list[int]) -> float:
    """Of a round: a pass of the draft a level, one of the target."""
    drafting = sum(policy.draft_costs.seconds(batch * level) for level in rows if level) if policy.draft_costs else 0.0
    return policy.target_costs.seconds(batch * (nodes + 1)) + drafting
