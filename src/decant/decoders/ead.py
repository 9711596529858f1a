"""Entropy adaptive decoding: the large model speaks while the text is uncertain, the small one while it is not.

How uncertain is the mean entropy, in bits, of the last few distributions that the speaking model drew from. Lossy: what
the small model says is checked by nobody. Defaults are not the authors', who gave none that could be read.

Source: Simonds 2025, arXiv:2502.06833.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.speakers import Turn, drawn, entropy, said
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Constraint, LanguageModel, Warp
from decant.types import Scores, Step

T = TypeVar("T")  # the target's context
S = TypeVar("S")  # the small model's context


@final
@dataclass(frozen=True, slots=True, eq=False)
class EADState(Generic[T, S]):
    """What is remembered between steps.

    large_B: whether the target speaks; since_B: tokens since it last changed.
    bits_BW: the last entropies, the newest last; nan where there was none yet.
    """

    large: T
    small: S
    constraint: Any
    noise: Noise
    large_B: Tensor
    since_B: Tensor
    bits_BW: Tensor


@final
@dataclass(frozen=True, slots=True)
class EAD(Generic[T, S]):
    """One token a step, from one of two models of one tokenizer. The small model begins.

    threshold: bits; above it the target speaks, up to it the small model.
    window:    tokens that the mean runs over.
    dwell:     tokens that a model speaks at least.
    Entropies are those of the models' own laws, before any warp: behind a greedy one nothing is uncertain.
    """

    target: LanguageModel[T]
    small: LanguageModel[S]
    warp: Warp
    constraint: Constraint[Any]
    threshold: float = 1.0
    window: int = 5
    dwell: int = 10

    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.window < 1 or self.dwell < 0:
            raise BadInput(
                f"ead needs a window of at least 1 token and a dwell of at least 0, got window {self.window}, "
                f"dwell {self.dwell}"
            )

    def start(self, prompt_BT: Tensor, noise: Noise) -> EADState[T, S]:
        """Both models read the prompt."""
        batch = len(prompt_BT)
        return EADState(
            large=self.target.start(prompt_BT)[0],
            small=self.small.start(prompt_BT)[0],
            constraint=self.constraint.start(prompt_BT),
            noise=noise,
            large_B=torch.zeros(batch, dtype=torch.bool, device=prompt_BT.device),
            since_B=torch.zeros(batch, dtype=torch.int64, device=prompt_BT.device),
            bits_BW=torch.full((batch, self.window), math.nan, device=prompt_BT.device),
        )

    def step(self, state: EADState[T, S]) -> tuple[EADState[T, S], Step]:
        """One token of every request."""
        large = Turn.of(self.target, state.large, state.large_B)
        small = Turn.of(self.small, state.small, ~state.large_B)
        blank_BV = torch.zeros(len(state.large_B), self.target.vocab, device=state.large_B.device)
        logits_BV = small.over(large.over(blank_BV))
        tokens_B1 = drawn(self.warp, self.constraint, state.constraint, logits_BV, state.noise)
        bits_BW = torch.cat([state.bits_BW[:, 1:], entropy(logits_BV)[:, None]], 1)
        since_B = state.since_B + 1
        turns_B = (since_B >= self.dwell) & ((bits_BW.nanmean(-1) > self.threshold) != state.large_B)
        verdict = said(tokens_B1)
        return EADState(
            large=large.commit(tokens_B1),
            small=small.commit(tokens_B1),
            constraint=self.constraint.observe(state.constraint, verdict, Scores(logits_BV[:, None])),
            noise=state.noise.advance(verdict.committed_B),
            large_B=state.large_B ^ turns_B,
            since_B=since_B.masked_fill(turns_B, 0),
            bits_BW=bits_BW,
        ), Step(tokens_B1, state.noise.root_B[:, None], ~state.large_B[:, None])

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk with the target, which is the dear one; whether `start` has at most a chunk left."""
        return self.target.prepare(prompt_1T)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Both models'."""
        return self.target.cache_bytes(tokens) + self.small.cache_bytes(tokens)
