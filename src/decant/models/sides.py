"""Each request twice: its own side, and another one whose prompt or model is another, and whose continuation is the
same. Two models are asked one after the other; one model reads both sides in one pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.protocols import LanguageModel
from decant.types import PAD, Draft, Scores, Taps, Verdict, join_rows, select_rows

S = TypeVar("S")  # what is remembered of both sides
C = TypeVar("C")  # a model's context
D = TypeVar("D")  # the other model's


class Sides(Protocol[S]):
    """As `LanguageModel`, of two prompts a request. What is tapped is the own side's."""

    @property
    def model(self) -> LanguageModel:
        """The own side's."""
        ...

    @property
    def other(self) -> LanguageModel:
        """The other side's."""
        ...

    def start(self, prompt_BT: Tensor, other_BT: Tensor, taps: Taps) -> tuple[S, Scores]:
        """Cache both prompts but their last tokens; both are right-padded with PAD."""
        ...

    def score(self, state: S, draft: Draft) -> tuple[Scores, Tensor]:
        """The own side's scores, and other_BMV: the other side's logits of the same rows."""
        ...

    def commit(self, state: S, verdict: Verdict) -> S:
        """Keep the accepted path on both sides."""
        ...

    def tokens(self, state: S) -> Tensor:
        """tokens_BT of the own side."""
        ...

    def prepare(self, prompt_1T: Tensor, other_1T: Tensor, taps: Taps) -> bool:
        """A chunk of the own prompt, else of the other one; where the first ends, one of each."""
        ...

    def cache_bytes(self, tokens: Sequence[int], others: Sequence[int]) -> int:
        """Of requests of so many tokens on each side, at most."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pair(Generic[C, D]):
    """A context of each model; `types.select_rows` and `join_rows` reach into both."""

    own: C
    other: D


@final
@dataclass(frozen=True, slots=True, eq=False)
class Apart(Generic[C, D]):
    """`Sides` of two models, or of one whose requests share a grid, where a long prompt would pad a short one."""

    model: LanguageModel[C]
    other: LanguageModel[D]

    def start(self, prompt_BT: Tensor, other_BT: Tensor, taps: Taps) -> tuple[Pair[C, D], Scores]:
        """One after the other; nothing is tapped of the other."""
        own, prefill = self.model.start(prompt_BT, taps)
        return Pair(own, self.other.start(other_BT)[0]), prefill

    def score(self, state: Pair[C, D], draft: Draft) -> tuple[Scores, Tensor]:
        """One after the other."""
        return self.model.score(state.own, draft), self.other.score(state.other, draft).logits_BMV

    def commit(self, state: Pair[C, D], verdict: Verdict) -> Pair[C, D]:
        """In both."""
        return Pair(self.model.commit(state.own, verdict), self.other.commit(state.other, verdict))

    def tokens(self, state: Pair[C, D]) -> Tensor:
        """The own context's."""
        return self.model.tokens(state.own)

    def prepare(self, prompt_1T: Tensor, other_1T: Tensor, taps: Taps) -> bool:
        """Each by its model."""
        return self.model.prepare(prompt_1T, taps) and self.other.prepare(other_1T)

    def cache_bytes(self, tokens: Sequence[int], others: Sequence[int]) -> int:
        """Both caches."""
        return self.model.cache_bytes(tokens) + self.other.cache_bytes(others)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Twins(Generic[C]):
    """One context of 2 B requests: all own sides, then all other sides. requests: B. device: the model's."""

    context: C
    requests: int
    device: torch.device

    def select(self, rows_R: Tensor) -> "Twins[C]":
        """Both sides of the requests `rows_R`."""
        return Twins(select_rows(self.context, torch.cat([rows_R, rows_R + self.requests])), len(rows_R), self.device)

    def join(self, other: "Twins[C]") -> "Twins[C]":
        """Both sides of these requests, then of the other's: own sides first again."""
        sizes = [self.requests, self.requests, other.requests, other.requests]
        mine, theirs, late, later = torch.arange(sum(sizes), device=self.device).split(sizes)
        context = select_rows(join_rows(self.context, other.context), torch.cat([mine, late, theirs, later]))
        return Twins(context, self.requests + other.requests, self.device)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Together(Generic[C]):
    """`Sides` of one model, as a batch of twice as many requests: its weights are read once a step, not twice."""

    model: LanguageModel[C]

    @property
    def other(self) -> LanguageModel[C]:
        """The same."""
        return self.model

    def start(self, prompt_BT: Tensor, other_BT: Tensor, taps: Taps) -> tuple[Twins[C], Scores]:
        """One batch; what was tapped of the other sides is dropped."""
        requests, own, other = len(prompt_BT), prompt_BT.shape[1], other_BT.shape[1]
        both = (pad(prompt_BT, (0, max(0, other - own)), value=PAD), pad(other_BT, (0, max(0, own - other)), value=PAD))
        context, prefill = self.model.start(torch.cat(both), taps)
        tapped = (prefill.logits_BMV, prefill.hidden_BMD, prefill.top_BMK)
        logits_BMV, hidden_BMD, top_BMK = (part if part is None else part[:requests, : own - 1] for part in tapped)
        assert logits_BMV is not None
        return Twins(context, requests, prompt_BT.device), Scores(logits_BMV, hidden_BMD, top_BMK, prefill.layers)

    def score(self, state: Twins[C], draft: Draft) -> tuple[Scores, Tensor]:
        """One pass."""
        scores, own = self.model.score(state.context, self._twice(state, draft)), state.requests
        hidden_BMD = None if scores.hidden_BMD is None else scores.hidden_BMD[:own]
        return replace(scores, logits_BMV=scores.logits_BMV[:own], hidden_BMD=hidden_BMD), scores.logits_BMV[own:]

    def commit(self, state: Twins[C], verdict: Verdict) -> Twins[C]:
        """In the one context."""
        return replace(state, context=self.model.commit(state.context, self._twice(state, verdict)))

    def tokens(self, state: Twins[C]) -> Tensor:
        """Of the first half."""
        return self.model.tokens(state.context)[: state.requests]

    def prepare(self, prompt_1T: Tensor, other_1T: Tensor, taps: Taps) -> bool:
        """With the same taps, as both start together."""
        return self.model.prepare(prompt_1T, taps) and self.model.prepare(other_1T, taps)

    def cache_bytes(self, tokens: Sequence[int], others: Sequence[int]) -> int:
        """Of twice as many requests."""
        return self.model.cache_bytes([*tokens, *others])

    def _twice(self, state: Twins[C], part: S) -> S:
        """A draft or a verdict of the requests, for both sides."""
        return select_rows(part, torch.arange(state.requests, device=state.device).repeat(2))
