"""Guess as far as a guess pays on this machine, and not at all where none does.

Source: Leviathan et al. 2023, arXiv:2211.17192, theorem 3.8, with measured times in place of their constant cost.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.numerics import chain_parents, depths
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Taps, Verdict

FLAT: Final = CostCurve((1,), (1.0,))  # a pass costs the same whatever it holds


@final
@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What each request's guesses were worth lately. kept_B, tried_B: guesses, older ones discounted; idle_B: rounds
    since the last."""

    kept_B: Tensor
    tried_B: Tensor
    idle_B: Tensor

    @property
    def rate_B(self) -> Tensor:
        """The chance that a guess is kept, a few imagined guesses included."""
        return (PRIOR * WEIGHT + self.kept_B) / (WEIGHT + self.tried_B)


PRIOR: Final = 0.7
WEIGHT: Final = 2.0


@final
@dataclass(frozen=True, slots=True)
class CostAware:
    """The depth k with the most tokens a second: sum over requests of (1 - a^(k+1)) / (1 - a) over
    target(B (k + 1)) + k draft(B), where a is a request's recent rate of kept guesses and guesses count as independent.

    most:   the largest depth.
    memory: how much of the evidence stays from one round to the next.
    retry:  after so many rounds without a guess, two are tried again: guesses may have become better.
    target_costs, draft_costs: seconds of a pass by its rows; a drafter that costs nothing has no curve.
    Raises BadInput unless most >= 0, 0 < memory <= 1 and retry >= 1.
    """

    most: int = 8
    memory: float = 0.9
    retry: int = 24
    target_costs: CostCurve = field(default=FLAT, repr=False)
    draft_costs: CostCurve | None = field(default=None, repr=False)

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.most < 0 or not 0 < self.memory <= 1 or self.retry < 1:
            raise BadInput(
                f"cost-aware needs most >= 0, 0 < memory <= 1 and retry >= 1, got most {self.most}, memory "
                f"{self.memory}, retry {self.retry}"
            )

    def start(self, batch: int) -> Estimate:
        """Nothing is known; the state stays on the host, where the next shape is needed."""
        return Estimate(*torch.zeros(3, batch))

    def shape(self, state: Estimate) -> DraftShape:
        """The best depth for the whole batch, which shares one pass."""
        depth = max(range(self.most + 1), key=lambda depth: self._speed(depth, state.rate_B))
        if depth == 0 and state.idle_B.max() >= self.retry:
            depth = min(2, self.most)
        return DraftShape(depth)

    def observe(self, state: Estimate, draft: Draft, verdict: Verdict, scores: Scores) -> Estimate:
        """Of a path of n guesses of which k stood, k were kept out of k + 1 tried, or out of n where all stood."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        depth_BN = depths(parents_BN).where(draft.tokens_BN != PAD, 0)
        offered_B = pad(depth_BN, (0, 1)).amax(-1).cpu()  # the extra column stands for "nothing"
        kept_B = verdict.accepted_B.cpu()  # sync: the next shape depends on it
        tried_B = torch.minimum(kept_B + 1, offered_B)
        some_B = offered_B > 0
        fade_B = torch.where(some_B, self.memory, 1.0)
        return Estimate(
            state.kept_B * fade_B + kept_B,
            state.tried_B * fade_B + tried_B,
            torch.where(some_B, 0.0, state.idle_B + 1),
        )

    def _speed(self, depth: int, rate_B: Tensor) -> float:
        """Tokens a second."""
        a_B, batch = rate_B.clamp_max(0.999), len(rate_B)
        tokens = float(((1 - a_B ** (depth + 1)) / (1 - a_B)).sum())
        drafting = depth * self.draft_costs.seconds(batch) if self.draft_costs else 0.0
        return tokens / (self.target_costs.seconds(batch * (depth + 1)) + drafting)
