"""The tree whose size this machine pays for best, from how often each rank of each level was kept.

For drafters that guess all levels in one pass: their deeper guesses are worse, whatever hangs above them, so levels are
counted apart. What rides along with the guesses (PPD's prompt tokens) is counted as rows; how much of it hangs where
the drafter decides, and how many there are is its knob: the paper's split of a size into guesses and prompts, by where
its chain of states settles, is left out. The paper measures accuracies beforehand; here they are those of the text so
far.

Source: Chen et al. 2024, arXiv:2405.18628 (PPD's hardware-aware dynamic sparse tree).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import ClassVar, Final, final

import torch
from torch import Tensor

from decant.drafting.templates import likeliest
from decant.errors import BadInput
from decant.numerics import chain_parents, depths, on_path
from decant.types import CostCurve, Draft, DraftShape, Path, Scores, Taps, Verdict

FLAT: Final = CostCurve((1,), (1.0,))  # a pass costs the same whatever it holds
PRIOR: Final = (0.5, 0.09)  # of a first child; of the others together with their rank: 0.09, 0.045, 0.03 ...
FADING: Final = 0.8  # of the prior from one level to the next
WEIGHT: Final = 4.0  # nodes that the prior counts for
STEP: Final = 0.02  # chances are rounded, so that few trees are looked for
RECENT: Final = 0.3  # weight of the last draft's riders


@final
@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """What became of the children of each rank of each level, older rounds discounted, and what rode along.

    kept_BDK, tried_BDK: how many were kept; on how many nodes of accepted paths there was one. riders_B: rows beside
    the guesses and the root.
    """

    kept_BDK: Tensor
    tried_BDK: Tensor
    riders_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class SparseTree:
    """Of the likeliest `budget` nodes of `depth` levels and `width` children as many as give the most tokens a second,
    over the whole batch, which shares one pass. At least one.

    memory: how much of the evidence stays from one round to the next.
    target_costs: seconds of a pass by its rows. Raises BadInput unless budget, depth and width are above 0 and
        0 < memory <= 1.
    """

    budget: int = 48
    depth: int = 4
    width: int = 8
    memory: float = 0.95
    target_costs: CostCurve = field(default=FLAT, repr=False)

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if min(self.budget, self.depth, self.width) < 1 or not 0 < self.memory <= 1:
            raise BadInput(
                f"sparse-tree needs budget, depth and width >= 1 and 0 < memory <= 1, got budget {self.budget}, depth "
                f"{self.depth}, width {self.width}, memory {self.memory}"
            )

    def start(self, batch: int) -> Levels:
        """Nothing is known; the state stays on the host, where the next shape is needed."""
        none_BDK = torch.zeros(batch, self.depth, self.width)
        return Levels(none_BDK, none_BDK, torch.zeros(batch))

    def shape(self, state: Levels) -> DraftShape:
        """The best tree for the mean request."""
        first_K = torch.tensor([PRIOR[0], *(PRIOR[1] / rank for rank in range(1, self.width))])
        prior_DK = first_K * FADING ** torch.arange(self.depth)[:, None]
        rate_BDK = (WEIGHT * prior_DK + state.kept_BDK) / (WEIGHT + state.tried_BDK)
        # A younger child is there only beside its elders, so it cannot be worth more to a tree.
        chance_DK = rate_BDK.mean(0).cummin(-1).values
        rounded = tuple(tuple(round(chance / STEP) * STEP for chance in level) for level in chance_DK.tolist())
        paths = _best(self, rounded, len(rate_BDK), round(float(state.riders_B.sum())))
        return DraftShape(max(map(len, paths)), template=paths)

    def observe(self, state: Levels, draft: Draft, verdict: Verdict, scores: Scores) -> Levels:
        """Which rank was kept on each node of the accepted path, level by level."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        rank_BN, tried_BN, kept_BN = on_path(draft, verdict)
        slot_BN = (depths(parents_BN) - 1) * self.width + rank_BN
        known_BN = (rank_BN < self.width) & (slot_BN < self.depth * self.width)
        slot_BN = slot_BN.where(known_BN, 0)
        none_BS = torch.zeros(len(slot_BN), self.depth * self.width, device=slot_BN.device)
        kept_BDK, tried_BDK = (
            none_BS.scatter_add(1, slot_BN, (these_BN & known_BN).float()).view(-1, self.depth, self.width).cpu()
            for these_BN in (kept_BN, tried_BN)
        )  # sync: the next shape depends on it
        some_B = tried_BDK.flatten(1).any(-1)
        fade_B11 = torch.where(some_B, self.memory, 1.0)[:, None, None]
        # Probes are absent from what a policy is shown, but for their rows.
        riders_B = (scores.logits_BMV.shape[1] - 1 - (draft.tokens_BN >= 0).sum(-1)).clamp_min(0).float().cpu()
        return Levels(
            state.kept_BDK * fade_B11 + kept_BDK,
            state.tried_BDK * fade_B11 + tried_BDK,
            torch.where(state.riders_B > 0, state.riders_B.lerp(riders_B, RECENT), riders_B),
        )


@lru_cache(maxsize=4096)
def _best(policy: SparseTree, chances: tuple[tuple[float, ...], ...], batch: int, riders: int) -> tuple[Path, ...]:
    """The tree of the most tokens a second where a rank of a level has this chance; riders: rows of the whole batch."""
    paths = likeliest(chances, policy.budget)
    tokens, best, size = 1.0, 0.0, 1
    for count, path in enumerate(paths, 1):
        tokens += prod(chances[level][rank] for level, rank in enumerate(path))
        speed = tokens / policy.target_costs.seconds(batch * (count + 1) + riders)
        if speed > best:
            best, size = speed, count
    return paths[:size]
