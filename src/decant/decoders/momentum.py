"""Momentum decoding: greedy, but a token that repeats a run of the text pays a resistance that grows with the run.

No look-ahead: one target call a token. Lossy: no draws.

Source: Lan et al. 2022, arXiv:2212.02175.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.speakers import said
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel
from decant.types import PAD, Draft, Step

C = TypeVar("C")  # the target's context

TABLES: Final = {
    "blocks": (0.0, 0.0, 0.0, 0.0, 5.0, math.inf),
    "linear": (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, math.inf),
    "constant": (0.0, 2.0, 2.0, 2.0, 2.0, 2.0),
    "logarithm": (0.0, *(math.log(1 + run, 6) / 0.2 for run in range(1, 6))),
    "exponential": (0.0, *(1.5**run / 2 for run in range(1, 6))),
}
"""f(r), r counting from 0 and no further than the last entry; the authors' code has them all."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class MomentumState(Generic[C]):
    """What is remembered between steps."""

    context: C
    constraint: Any
    noise: Noise


@final
@dataclass(frozen=True, slots=True)
class Momentum(Generic[C]):
    """The next token has the largest p - alpha f(r), of the `top_k` likeliest; r is the length of the longest run that
    ends with it and that the text, prompt included, holds already. With alpha 0 this is greedy decoding.

    resistance: f. "blocks": 5 for a run of 4, infinite from 5 on, so that no 5 tokens repeat while one of the `top_k`
        is free; where none is, the likeliest is taken. "linear": r, infinite from 6 on; the others have no block.
    No warp: p is the target's own law, of what the constraint allows.
    """

    target: LanguageModel[C]
    constraint: Constraint[Any]
    alpha: float = 0.2
    top_k: int = 5
    resistance: Literal["blocks", "linear", "constant", "logarithm", "exponential"] = "blocks"

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < math.inf or self.top_k < 1:
            raise BadInput(
                f"momentum needs an alpha of at least 0 and a top_k of at least 1, got alpha {self.alpha}, top_k "
                f"{self.top_k}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> MomentumState[C]:
        """Read the prompt."""
        return MomentumState(self.target.start(prompt_BT)[0], self.constraint.start(prompt_BT), noise)

    def step(self, state: MomentumState[C]) -> tuple[MomentumState[C], Step]:
        """One token of every request."""
        draft = Draft.nothing(len(state.noise.seed_B), state.noise.seed_B.device)
        scores = self.target.score(state.context, draft)
        law_BV = self.constraint.adjust(state.constraint, draft, scores.logits_BMV.float())[:, 0].softmax(-1)
        law_BK, ids_BK = law_BV.topk(min(self.top_k, law_BV.shape[-1]), -1)
        liked_BK = law_BK
        if self.alpha:  # 0 times infinity is no number
            table_R = torch.tensor(TABLES[self.resistance], device=law_BK.device)
            runs_BV = runs(self.target.tokens(state.context), law_BV.shape[-1], len(table_R) - 1)
            liked_BK = law_BK - self.alpha * table_R[runs_BV.gather(1, ids_BK)]
        # A forbidden token repeats nothing, and would win over all that do.
        best_B1 = liked_BK.masked_fill(law_BK == 0, -torch.inf).argmax(-1, keepdim=True)
        tokens_B1 = ids_BK.gather(1, best_B1)
        verdict = said(tokens_B1)
        return MomentumState(
            context=self.target.commit(state.context, verdict),
            constraint=self.constraint.observe(state.constraint, verdict, scores),
            noise=state.noise.advance(verdict.committed_B),
        ), Step(tokens_B1, state.noise.root_B[:, None], torch.zeros_like(tokens_B1, dtype=torch.bool))

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """The target's."""
        return self.target.cache_bytes(tokens)


def runs(tokens_BT: Tensor, vocab: int, longest: int) -> Tensor:
    """runs_BV: how long the longest run is that ends with each token, said next, and that the text holds already; 0 for
    a token that it lacks, at most `longest`. tokens_BT: right-padded with PAD."""
    count_B1 = (tokens_BT != PAD).sum(-1, keepdim=True)
    same_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
    run_BT = torch.ones_like(tokens_BT)
    slots_T = torch.arange(tokens_BT.shape[1], device=tokens_BT.device)
    for back in range(1, longest):
        last_B1 = tokens_BT.gather(1, (count_B1 - back).clamp_min(0))
        before_BT = tokens_BT[:, (slots_T - back).clamp_min(0)]
        same_BT = same_BT & (before_BT == last_B1) & (slots_T >= back) & (count_B1 > back)
        run_BT = run_BT + same_BT
    runs_BV = tokens_BT.new_zeros(len(tokens_BT), vocab)
    return runs_BV.scatter_reduce(1, tokens_BT.clamp_min(0), run_BT.where(tokens_BT != PAD, 0), "amax")
