"""Guess as far as a guess pays on this machine, and not at all where none does.

Source: Leviathan et al. 2023, arXiv:2211.17192, theorem 3.8, with measured times in place of their constant cost.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.numerics import chain_parents, depths
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Taps, Verdict

FLAT: Final = CostCurve((1,), (1.0,))  # a pass costs the same whatever it holds
PRIOR: Final = 0.7
WEIGHT: Final = 2.0
PROBE: Final = 2  # guesses of a retry
DOUBLINGS: Final = 4
RECENT: Final = 0.3  # weight of the last tree's size


@final
@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What each request's guesses were worth lately. kept_B, tried_B: guesses, older ones discounted, a few imagined
    ones first; idle_B: rounds since the last, below 0 while probes alone have yet to be earned; missed_B: retries since
    guesses last paid; nodes_B: the size of its trees, 0 while it gets chains.
    """

    kept_B: Tensor
    tried_B: Tensor
    idle_B: Tensor
    missed_B: Tensor
    nodes_B: Tensor

    @property
    def rate_B(self) -> Tensor:
        """The chance that a guess is kept."""
        return self.kept_B / self.tried_B


@final
@dataclass(frozen=True, slots=True)
class CostAware:
    """The depth k with the most tokens a second: sum over requests of (1 - a^(k+1)) / (1 - a) over
    target(rows) + k draft(B), where a is a request's recent rate of kept guesses and guesses count as independent. A
    request has k + 1 rows; where its drafter makes trees of its own, as many as its trees had lately; and the probes
    that ride beside k guesses. A depth of 0 asks for no probes either: such a round costs what plain decoding costs.

    most:   the largest depth.
    memory: how much of the evidence stays from one round to the next.
    retry:  after so many rounds without a guess, two are tried again: guesses may have become better. Each time that
        they have not the wait doubles, up to 16 times.
    lost:   the share of the time that retries may cost: where a round with guesses is dear the wait is longer.
    target_costs, draft_costs: seconds of a pass by its rows; a drafter that costs nothing has no curve.
    riding: probes beside so many guesses of a depth (`protocols.Rides`). Before there is a guess they ride alone:
        a first round like that waits until it costs no more than `lost`, and a second in a row counts as a refusal.
    Raises BadInput unless most >= 0, 0 < memory <= 1, retry >= 1 and 0 < lost <= 1.
    """

    most: int = 8
    memory: float = 0.9
    retry: int = 24
    lost: float = 0.02
    target_costs: CostCurve = field(default=FLAT, repr=False)
    draft_costs: CostCurve | None = field(default=None, repr=False)
    riding: Callable[[int, int], int] | None = field(default=None, repr=False)

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.most < 0 or not 0 < self.memory <= 1 or self.retry < 1 or not 0 < self.lost <= 1:
            raise BadInput(
                f"cost-aware needs most >= 0, 0 < memory <= 1, retry >= 1 and 0 < lost <= 1, got most {self.most}, "
                f"memory {self.memory}, retry {self.retry}, lost {self.lost}"
            )

    def start(self, batch: int) -> Estimate:
        """Nothing is known; the state stays on the host, where the next shape is needed."""
        # Imagined guesses fade as others do: a rate that never fell below their share would draft in vain for ever.
        kept_B, tried_B = torch.full((batch,), PRIOR * WEIGHT), torch.full((batch,), WEIGHT)
        idle_B = torch.full((batch,), -self._alone(1, batch) / self.lost)
        return Estimate(kept_B, tried_B, idle_B, *torch.zeros(2, batch))

    def shape(self, state: Estimate) -> DraftShape:
        """The best depth for the whole batch, which shares one pass."""
        # Half of the batch: a request that never gets a guess must not wake the others.
        if state.idle_B.median() < 0:
            return DraftShape(0)
        depth = self._best(state)
        if depth == 0 and self.most and (state.idle_B - self._wait(state)).median() >= 0:
            # A tree of a size that nobody knows could cost what a hundred rounds do not bring back.
            return DraftShape(min(PROBE, self.most), budget=None if state.nodes_B.any() or self.riding else PROBE)
        return DraftShape(depth)

    def observe(self, state: Estimate, draft: Draft, verdict: Verdict, scores: Scores) -> Estimate:
        """Of a path of n guesses of which k stood, k were kept out of k + 1 tried, or out of n where all stood."""
        if scores.logits_BMV.shape[1] == 1:  # plain decoding's round, which should cost no more than that
            return replace(state, idle_B=state.idle_B + 1)
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        real_BN = draft.tokens_BN != PAD
        depth_BN = depths(parents_BN).where(real_BN, 0)
        offered_B = pad(depth_BN, (0, 1)).amax(-1).cpu()  # the extra column stands for "nothing"
        kept_B = verdict.accepted_B.cpu()  # sync: the next shape depends on it
        nodes_B = real_BN.sum(-1).cpu()
        some_B = offered_B > 0
        in_vain = self._best(state) == 0
        late_B = state.idle_B - self._wait(state) if in_vain else state.idle_B
        judged_B = some_B if self.riding is None else some_B | (late_B >= 1)
        tried_B = torch.minimum(kept_B + 1, offered_B).where(some_B, judged_B.long())
        fade_B = torch.where(judged_B, self.memory, 1.0)
        size_B = nodes_B.where(nodes_B > offered_B, 0).float()
        usual_B = torch.where(state.nodes_B * size_B > 0, state.nodes_B.lerp(size_B, RECENT), size_B)
        idle_B = torch.where(some_B, 0.0, state.idle_B + 1)
        if in_vain:  # what the first of two rounds has cost is earned before the next retry
            owed = self._alone(min(PROBE, self.most), len(some_B)) / self.lost
            idle_B = torch.where(judged_B & (kept_B == 0), -owed, idle_B)
        return Estimate(
            state.kept_B * fade_B + kept_B,
            state.tried_B * fade_B + tried_B,
            idle_B,
            torch.where(judged_B, state.missed_B + (state.idle_B > 0) if in_vain else 0.0, state.missed_B),
            torch.where(some_B, usual_B, state.nodes_B),
        )

    def _best(self, state: Estimate) -> int:
        depth_G = torch.arange(self.most + 1)
        tokens_G = (state.rate_B.clamp_max(0.999)[:, None] ** depth_G).cumsum(-1).sum(0).tolist()
        return max(range(self.most + 1), key=lambda depth: tokens_G[depth] / self._seconds(depth, state.nodes_B))

    def _wait(self, state: Estimate) -> Tensor:
        """wait_B in rounds without a guess."""
        dearer = self._seconds(min(PROBE, self.most), state.nodes_B) / self._seconds(0, state.nodes_B) - 1
        return (self.retry * 2 ** state.missed_B.clamp_max(DOUBLINGS)).clamp_min(dearer / self.lost)

    def _alone(self, depth: int, batch: int) -> float:
        """What a round of probes alone costs more than one without any, in such rounds."""
        if self.riding is None:
            return 0.0
        return self.target_costs.seconds(batch * (1 + self.riding(0, depth))) / self.target_costs.seconds(batch) - 1

    def _seconds(self, depth: int, nodes_B: Tensor) -> float:
        """Of a round; without a guess a request is one row."""
        batch = len(nodes_B)
        if depth == 0:
            return self.target_costs.seconds(batch)
        guesses = nodes_B.clamp_min(depth).int().tolist()
        rows = batch + sum(guesses)
        if self.riding is not None:
            rows += sum(self.riding(count, depth) for count in guesses)
        drafting = depth * self.draft_costs.seconds(batch) if self.draft_costs else 0.0
        return self.target_costs.seconds(rows) + drafting
