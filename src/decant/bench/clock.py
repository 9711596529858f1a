"""Where the time of a decoder goes: its parts, wrapped in a clock that changes nothing they say.

`timed` gives a decoder with the same parts behind wrappers that charge a `Ledger`. States pass through untouched, so
requests leave and join a batch as before.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, TypeVar, final

from torch import Tensor

from decant.bench.ledger import Ledger, Part, Round
from decant.decoders.superposed import Mixer
from decant.diffusion import Fresh, MaskedLM
from decant.noise import Noise
from decant.protocols import AnyDecoder, Drafter, LanguageModel, Learner, Policy, Warp
from decant.types import Draft, DraftShape, Scores, Step, Taps, Verdict

S = TypeVar("S")  # the wrapped part's state


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
        with self.ledger.call(self.part):
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
        with self.ledger.call("target"):
            return self.inner.predict(state, canvas_BL, fresh, wanted_BL)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of the model."""
        return self.inner.cache_bytes(tokens)


@final
@dataclass(frozen=True, slots=True)
class TimedMixer(Generic[S]):
    """A `Mixer` that charges the target: every row that is fed to it is a pass of its own."""

    inner: Mixer[S]
    ledger: Ledger

    @property
    def vocab(self) -> int:
        """Of the model."""
        return self.inner.vocab

    def start(self, prompt_BT: Tensor) -> S:
        """Part of the prefill, which is charged as a whole."""
        return self.inner.start(prompt_BT)

    def root(self, context: S) -> Tensor:
        """A call of the model."""
        with self.ledger.call("target"):
            return self.inner.root(context)

    def mixed(self, context: S, tokens_BK: Tensor, weights_BK: Tensor) -> tuple[S, Tensor]:
        """A call of the model."""
        with self.ledger.call("target"):
            return self.inner.mixed(context, tokens_BK, weights_BK)

    def commit(self, context: S, tokens_BC: Tensor) -> S:
        """The model's too: it moves cache rows."""
        with self.ledger.charge("target"):
            return self.inner.commit(context, tokens_BC)

    def tokens(self, context: S) -> Tensor:
        """Of the model."""
        return self.inner.tokens(context)

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Of the model."""
        return self.inner.prepare(prompt_1T)

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
        begin, calls = self.ledger.now(), self.ledger.calls
        state, step = self.inner.step(state)
        if self.ledger.first[-1] <= 0:
            self.ledger.first[-1] = self.ledger.now() - begin - self.ledger.first[-1]
        self.ledger.turns += len(step.tokens_BC)
        self.ledger.asked += len(step.tokens_BC) * (self.ledger.calls - calls)
        return state, step

    def warmed(self, state: S) -> "TimedDecoder[S]":
        """What comes next, on the same clock."""
        return TimedDecoder(self.inner.warmed(state), self.ledger) if isinstance(self.inner, Learner) else self


def timed(decoder: AnyDecoder, ledger: Ledger) -> TimedDecoder[Any]:
    """`decoder` with a clock on it and on those of its parts: target, masked, mixer, small, drafter, policy."""
    assert is_dataclass(decoder)
    wrapped = {
        "target": TimedModel,
        "masked": TimedMasked,
        "mixer": TimedMixer,
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
