"""Where the time of a decoder goes: its parts, wrapped in a clock that changes nothing they say.

`timed` gives a decoder with the same parts behind wrappers that charge a `Ledger`. States pass through untouched, so
requests leave and join a batch as before.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Generic, Literal, TypeVar, final

import torch
from torch import Tensor

from decant.diffusion import Fresh, MaskedLM
from decant.noise import Noise
from decant.protocols import AnyDecoder, Drafter, LanguageModel, Learner, Policy, Warp
from decant.types import Draft, DraftShape, Scores, Step, Taps, Verdict

S = TypeVar("S")  # the wrapped part's state

Part = Literal["draft", "target"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One draft and what became of it: tokens_BN, parents_BN (None for a chain), nodes_BC as in `Verdict`."""

    tokens_BN: Tensor
    parents_BN: Tensor | None
    nodes_BC: Tensor


@final
@dataclass(slots=True)
class Ledger:
    """What one decoder did, added up over all it decoded.

    draft, target: seconds in the drafter, and in the target, while decoding; prefill is not among them.
    prefill:       seconds in `Decoder.start`, the drafter's part of it included.
    first:         seconds from each start to the end of its first step.
    calls:         of the target, after prefill.
    turns:         request-steps: one for each request that is still running, each step.
    rounds:        every draft.

    On an accelerator each charge waits for the device, before and after: the split is true, and the total a little
    slower than it would be without a clock.
    """

    device: torch.device
    draft: float = 0.0
    target: float = 0.0
    prefill: float = 0.0
    first: list[float] = field(default_factory=list)
    calls: int = 0
    turns: int = 0
    rounds: list[Round] = field(default_factory=list)
    decoding: bool = False

    @contextmanager
    def charge(self, part: Part) -> Iterator[None]:
        """Charge what happens inside to `part`."""
        begin = self.now()
        yield
        if self.decoding:
            setattr(self, part, getattr(self, part) + self.now() - begin)

    def now(self) -> float:
        """The time once the device has caught up."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@final
@dataclass(frozen=True, slots=True)
class TimedModel(Generic[S]):
    """A `LanguageModel` that charges one part; only the target's calls are counted."""

    inner: LanguageModel[S]
    ledger: Ledger
    part: Part = "target"

    @property
    def vocab(self) -> int:
        """Of the model."""
        return self.inner.vocab

    @property
    def trees(self) -> bool:
        """Of the model."""
        return self.inner.trees

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[S, Scores]:  # noqa: B008  (frozen)
        """Part of the prefill, which is charged as a whole."""
        return self.inner.start(prompt_BT, taps)

    def score(self, context: S, draft: Draft) -> Scores:
        """A call of the model."""
        self.ledger.calls += self.part == "target"
        with self.ledger.charge(self.part):
            return self.inner.score(context, draft)

    def commit(self, context: S, verdict: Verdict) -> S:
        """The model's too: it moves cache rows."""
        with self.ledger.charge(self.part):
            return self.inner.commit(context, verdict)

    def tokens(self, context: S) -> Tensor:
        """Of the model."""
        return self.inner.tokens(context)

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """Of the model."""
        return self.inner.prepare(prompt_1T, taps)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of the model."""
        return self.inner.cache_bytes(tokens)


@final
@dataclass(frozen=True, slots=True)
class TimedMasked(Generic[S]):
    """A `MaskedLM` that charges the target."""

    inner: MaskedLM[S]
    ledger: Ledger

    @property
    def vocab(self) -> int:
        """Of the model."""
        return self.inner.vocab

    @property
    def mask(self) -> int:
        """Of the model."""
        return self.inner.mask

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> S:
        """Nothing is computed."""
        return self.inner.start(prompt_BT, canvas_BL)

    def predict(self, state: S, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[S, Tensor]:
        """A call of the model."""
        self.ledger.calls += 1
        with self.ledger.charge("target"):
            return self.inner.predict(state, canvas_BL, fresh, wanted_BL)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of the model."""
        return self.inner.cache_bytes(tokens)


@final
@dataclass(frozen=True, slots=True)
class TimedDrafter(Generic[S]):
    """A `Drafter` that charges the draft."""

    inner: Drafter[S]
    ledger: Ledger

    @property
    def taps(self) -> Taps:
        """Of the drafter."""
        return self.inner.taps

    def start(self, prompt_BT: Tensor, prefill: Scores) -> S:
        """Part of the prefill, which is charged as a whole."""
        return self.inner.start(prompt_BT, prefill)

    def draft(self, state: S, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Of the drafter."""
        with self.ledger.charge("draft"):
            return self.inner.draft(state, shape, warp, noise, context)

    def observe(self, state: S, draft: Draft, verdict: Verdict, scores: Scores) -> S:
        """Of the drafter."""
        with self.ledger.charge("draft"):
            return self.inner.observe(state, draft, verdict, scores)


@final
@dataclass(frozen=True, slots=True)
class TimedLearner(Generic[S]):
    """A timed drafter that is also a `Learner`: only what has `warmed` may look as if it had it."""

    timed: TimedDrafter[S]

    @property
    def taps(self) -> Taps:
        """Of the drafter."""
        return self.timed.taps

    def start(self, prompt_BT: Tensor, prefill: Scores) -> S:
        """Of the drafter."""
        return self.timed.start(prompt_BT, prefill)

    def draft(self, state: S, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Of the drafter."""
        return self.timed.draft(state, shape, warp, noise, context)

    def observe(self, state: S, draft: Draft, verdict: Verdict, scores: Scores) -> S:
        """Of the drafter."""
        return self.timed.observe(state, draft, verdict, scores)

    def warmed(self, state: S) -> "TimedLearner[S]":
        """The warmed drafter, on the same clock."""
        assert isinstance(self.timed.inner, Learner)
        return TimedLearner(TimedDrafter(self.timed.inner.warmed(state), self.timed.ledger))


@final
@dataclass(frozen=True, slots=True)
class WatchedPolicy(Generic[S]):
    """A `Policy` that notes every draft and what became of it."""

    inner: Policy[S]
    ledger: Ledger

    @property
    def taps(self) -> Taps:
        """Of the policy."""
        return self.inner.taps

    def start(self, batch: int) -> S:
        """Of the policy."""
        return self.inner.start(batch)

    def shape(self, state: S) -> DraftShape:
        """Of the policy."""
        return self.inner.shape(state)

    def observe(self, state: S, draft: Draft, verdict: Verdict, scores: Scores) -> S:
        """Of the policy. Laws are not kept: they are V floats a node."""
        self.ledger.rounds.append(Round(draft.tokens_BN, draft.parents_BN, verdict.nodes_BC))
        return self.inner.observe(state, draft, verdict, scores)


@final
@dataclass(frozen=True, slots=True)
class TimedDecoder(Generic[S]):
    """A `Decoder` that tells prefill from decoding."""

    inner: AnyDecoder
    ledger: Ledger

    def start(self, prompt_BT: Tensor, noise: Noise) -> S:
        """The prefill."""
        self.ledger.decoding = False
        begin = self.ledger.now()
        state = self.inner.start(prompt_BT, noise)
        spent = self.ledger.now() - begin
        self.ledger.prefill += spent
        self.ledger.first.append(-spent)  # negative until the first step has ended
        self.ledger.decoding = True
        return state

    def step(self, state: S) -> tuple[S, Step]:
        """A step; the first ends the wait for the first token."""
        begin = self.ledger.now()
        state, step = self.inner.step(state)
        if self.ledger.first[-1] <= 0:
            self.ledger.first[-1] = self.ledger.now() - begin - self.ledger.first[-1]
        self.ledger.turns += len(step.tokens_BC)
        return state, step

    def warmed(self, state: S) -> "TimedDecoder[S]":
        """What comes next, on the same clock."""
        return TimedDecoder(self.inner.warmed(state), self.ledger) if isinstance(self.inner, Learner) else self


def timed(decoder: AnyDecoder, ledger: Ledger) -> TimedDecoder[Any]:
    """`decoder` with a clock on it and on those of its parts: target, masked, small, drafter, policy."""
    assert is_dataclass(decoder)
    wrapped = {
        "target": TimedModel,
        "masked": TimedMasked,
        "small": _small,
        "drafter": _drafter,
        "policy": WatchedPolicy,
    }
    named = {part.name for part in fields(decoder)} & set(wrapped)
    parts: dict[str, Any] = {name: wrapped[name](getattr(decoder, name), ledger) for name in named}
    return TimedDecoder(replace(decoder, **parts), ledger)  # type: ignore[type-var]


def _small(model: LanguageModel[Any], ledger: Ledger) -> TimedModel[Any]:
    """A decoder's second model is charged to the draft. Where the two run at once the shares overlap."""
    return TimedModel(model, ledger, "draft")


def _drafter(drafter: Drafter[Any], ledger: Ledger) -> TimedDrafter[Any] | TimedLearner[Any]:
    inner = TimedDrafter(drafter, ledger)
    return TimedLearner(inner) if isinstance(drafter, Learner) else inner
