"""DEL: leave the target at the layer, and guess as far, as promises the most tokens for the layers that are read.

After each round every layer's state of every row whose past was kept is turned into the token that the layer would have
said, its *shadow*: how often it is the target's own tells what that exit is worth, whether it drafted or not. Shadows
and the target's tokens are likeliest ones, also where the target draws: then agreement is a stand-in for acceptance.
Layers are counted as the paper counts them, tokens per layer (1 - a^(g+1)) / ((1 - a) (g l + L)), or at what they cost
on this machine. Reconstructed, since it could not be read: the decay, the largest depth, and the threshold that stops a
draft. So is the hope before the first round: the paper starts from the prompt, which a policy is not shown. While
nothing is drafted shadows are cast in some rounds only.
Source: Entezari Zarch et al. 2025, arXiv:2504.05598.
"""

from dataclasses import dataclass, field, replace
from typing import Final, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import along_path
from decant.protocols import Exits
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Taps, Verdict

FLAT: Final = CostCurve((1,), (1.0,))  # a pass costs the same whatever it holds: layers alone count
PRIOR: Final = 0.7  # hopeful: what is tried is soon known
WEIGHT: Final = 2.0
EVERY: Final = 4  # rounds without a draft from one casting to the next: all layers' heads are a tenth of such a round


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shadows:
    """What each request's layers would have said lately, older rounds discounted.

    tried_B: rows. kept_BE: of those, where exit E said what the target said. sure_BE, unsure_BE: the probabilities that
    it gave to its tokens, added up over those that were right, and over those that were wrong. quiet_B: rounds since
    the last draft.
    """

    tried_B: Tensor
    kept_BE: Tensor
    sure_BE: Tensor
    unsure_BE: Tensor
    quiet_B: Tensor

    @property
    def rate_BE(self) -> Tensor:
        """The chance that a guess of each exit is kept, a few imagined guesses included."""
        return (PRIOR * WEIGHT + self.kept_BE) / (WEIGHT + self.tried_B[:, None])

    @property
    def threshold_BE(self) -> Tensor:
        """Halfway between how sure an exit is when right and when wrong; 0 until both have happened."""
        missed_BE = self.tried_B[:, None] - self.kept_BE
        tiny = torch.finfo(self.kept_BE.dtype).tiny
        halfway_BE = (self.sure_BE / self.kept_BE.clamp_min(tiny) + self.unsure_BE / missed_BE.clamp_min(tiny)) / 2
        return halfway_BE.where((self.kept_BE > 0) & (missed_BE > 0), 0.0).clamp(0, 1)


@final
@dataclass(frozen=True, slots=True)
class DynamicExit:
    """Choose exit and depth anew in each round, depth 0 being plain decoding; for the drafter early-exit.

    exits:  the target's layers.
    most:   the largest depth.
    decay:  how much of the evidence stays from one round to the next.
    stride: every so many layers one may be left: fewer shadows to cast.
    target_costs: seconds of a pass of the target by its rows.
    Raises BadInput unless most >= 0, 0 < decay <= 1 and stride >= 1.
    """

    exits: Exits
    most: int = 18
    decay: float = 0.95
    stride: int = 1
    target_costs: CostCurve = field(default=FLAT, repr=False)

    def __post_init__(self) -> None:
        if self.most < 0 or not 0 < self.decay <= 1 or self.stride < 1:
            raise BadInput(
                f"dynamic-exit needs most >= 0, 0 < decay <= 1 and stride >= 1, got most {self.most}, decay "
                f"{self.decay}, stride {self.stride}"
            )

    @property
    def rungs(self) -> tuple[int, ...]:
        """The exits that may be taken; the target itself is none."""
        return tuple(range(self.stride, self.exits.layers, self.stride))

    @property
    def taps(self) -> Taps:
        """The states that every exit would have left with."""
        return Taps(layers=self.rungs)

    def start(self, batch: int) -> Shadows:
        """Nothing is known; the state stays on the host, where the next shape is needed."""
        none_BE = torch.zeros(batch, len(self.rungs))
        return Shadows(torch.zeros(batch), none_BE, none_BE, none_BE, torch.zeros(batch, dtype=torch.int64))

    def shape(self, state: Shadows) -> DraftShape:
        """The best exit and depth for the whole batch, which shares one pass."""
        if not self.rungs:
            return DraftShape(0)
        at = int(self.worth(state.rate_BE).argmax())
        rung, depth = divmod(at, self.most + 1)
        if not depth:
            return DraftShape(0)
        return DraftShape(depth, stop_below=float(state.threshold_BE[:, rung].mean()), exit=self.rungs[rung])

    def observe(self, state: Shadows, draft: Draft, verdict: Verdict, scores: Scores) -> Shadows:
        """Rows count up to and with the one at which the target disagreed: up to there their past was kept."""
        hidden_BMF = scores.hidden(self.rungs)
        nothing = draft.tokens_BN.shape[1] == 0
        quiet_B = (state.quiet_B + 1) * nothing
        if not hidden_BMF.shape[-1] or (nothing and int(state.quiet_B.min()) % EVERY):
            return replace(state, quiet_B=quiet_B)
        there_BC = verdict.tokens_BC != PAD
        target_R = along_path(scores.logits_BMV.argmax(-1, keepdim=True), verdict.nodes_BC)[there_BC]
        ids_RE, sure_RE = self.exits.shadow(along_path(hidden_BMF, verdict.nodes_BC)[there_BC], self.rungs)
        right_RE, sure_RE = (ids_RE == target_R).cpu(), sure_RE.cpu()  # sync: the next shape depends on them
        request_R = there_BC.nonzero()[:, 0].cpu()

        def faded(old: Tensor, new: Tensor) -> Tensor:
            return (old * self.decay).index_add(0, request_R, new.to(old))

        return Shadows(
            faded(state.tried_B, torch.ones(len(request_R))),
            faded(state.kept_BE, right_RE),
            faded(state.sure_BE, sure_RE.where(right_RE, 0.0)),
            faded(state.unsure_BE, sure_RE.where(~right_RE, 0.0)),
            quiet_B,
        )

    def worth(self, rate_BE: Tensor) -> Tensor:
        """worth_EG: tokens for what is spent, of each exit and depth 0 ... most. The sum of powers is the paper's
        quotient, and right where a rate is 1."""
        batch, depths = len(rate_BE), range(self.most + 1)
        tokens_EG = (rate_BE[..., None] ** torch.arange(self.most + 1)).cumsum(-1).sum(0)
        share_E1 = torch.tensor([[self.exits.share(exit)] for exit in self.rungs])
        target_G = torch.tensor([self.target_costs.seconds(batch * (depth + 1)) for depth in depths])
        drafting_EG = share_E1 * self.target_costs.seconds(batch) * torch.arange(self.most + 1)
        return tokens_EG / (target_G + drafting_EG)
