"""The verbs: the seams between the parts. Read `types.py` first."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

from decant.noise import Noise
from decant.types import Draft, DraftShape, Scores, Siblings, Step, Taps, Verdict

State = TypeVar("State")  # whatever a part wants to remember; opaque to everyone else

Warp = Callable[[Tensor], Tensor]
"""logits_XV -> logits_XV, pointwise in X. Forbidden tokens get -inf. Composed with `samplers.chain`."""

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(teacher_logp_XV, student_logp_XV) -> nats_X, neither reduced nor masked: the trainer does that, once."""


@runtime_checkable
class Rows(Protocol):
    """A state that knows how requests leave it and join it (`types.select_rows` asks it)."""

    def select(self, rows_R: Tensor) -> Self: ...

    def join(self, other: Self) -> Self: ...


class LanguageModel(Protocol[State]):
    """Scores drafts. Owns the KV cache; the only part that mutates anything."""

    @property
    def vocab(self) -> int:
        """How many logits a row has."""
        ...

    @property
    def trees(self) -> bool:
        """Whether `score` takes drafts that branch."""
        ...

    def start(self, prompt_BT: Tensor, taps: Taps = Taps()) -> tuple[State, Scores]:  # noqa: B008  (frozen)
        """Cache prompt[:-1] and return what was tapped of it; prompt_BT is right-padded with PAD."""
        ...

    def score(self, context: State, draft: Draft) -> Scores:
        """Row 0 follows the root (the last token of the context), row i + 1 follows node i."""
        ...

    def commit(self, context: State, verdict: Verdict) -> State:
        """Keep the accepted path of the draft last scored, drop every other node. Tokens that it never scored stay
        pending: the next `score` feeds them before the root. The old state stays valid until then."""
        ...

    def tokens(self, context: State) -> Tensor:
        """tokens_BT: prompt and committed ids, right-padded with PAD."""
        ...

    def prepare(self, prompt_1T: Tensor, taps: Taps = Taps()) -> bool:  # noqa: B008  (frozen)
        """Read one more chunk of a prompt in advance; whether `start` has at most a chunk left to read. A model that
        keeps no chunks says True."""
        ...

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of requests of so many tokens each, at most, their drafts included."""
        ...


class Drafter(Protocol[State]):
    """Guesses what the target will say next."""

    @property
    def taps(self) -> Taps:
        """What it reads of the target."""
        ...

    def start(self, prompt_BT: Tensor, prefill: Scores) -> State:
        """`prefill`: what was tapped of prompt[:-1]."""
        ...

    def draft(self, state: State, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """Pure: the same state and noise give the same draft. `context` is the target's own, opaque: only drafters
        that share the target's weights look at it. A depth of 0 asks for no rows at all: no probes either."""
        ...

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State:
        """Catch up with what was committed, and with what the target thought of the draft."""
        ...


class FeatureHead(Protocol[State]):
    """A trained network that guesses a token at a time, from the target's states and then from its own."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the target, that it reads."""
        ...

    def start(self, prompt_BT: Tensor, hidden_BTF: Tensor) -> State:
        """After a prompt; hidden_BTF: the target's states of all its tokens but the last."""
        ...

    def follow(self, state: State, tokens_BC: Tensor, hidden_BCF: Tensor) -> State:
        """After more tokens, PAD behind; hidden_BCF: the target's state of the token before each."""
        ...

    def guess(self, state: State) -> Callable[[Draft], Tensor]:
        """What follows the newest rows of a tree that grows, logits_BLV: those that no earlier call saw. The state
        stays as it is."""
        ...

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of requests of so many tokens each, at most."""
        ...


class ParallelHeads(Protocol):
    """Trained heads that each guess one place further, all from one state of the target."""

    @property
    def layers(self) -> tuple[int, ...]:
        """Of the target, that they read."""
        ...

    @property
    def depth(self) -> int:
        """How many there are."""
        ...

    @property
    def vocab(self) -> int:
        """How many logits each gives."""
        ...

    def said(self, hidden_BF: Tensor) -> Tensor:
        """logits_BKV: head k is about the token k + 2 places behind the one whose state this is."""
        ...


@runtime_checkable
class Riders(Protocol):
    """Trained rows that a target scores beside a draft, each guessing a place further than the one it follows. They
    are nodes whose ids lie behind the vocabulary; only a target that was `dressed` knows them.

    first: the id of the first place of the first copy; then come its other places, then the next copy.
    depth: how many places. copies: chains of them behind one node, blind to each other, of which the mean counts.
    """

    first: int
    depth: int
    copies: int

    def dressed(self, model: Any) -> Any:
        """The target that knows them; the weights that it had are shared."""
        ...


class Exits(Protocol):
    """The target's own lower layers, any of which can be asked for the next token. They read the target's cache, and
    write only behind what is committed, where the target writes again when it scores the draft."""

    @property
    def layers(self) -> int:
        """Of the target: an exit is one of 1 ... layers, the last being the target itself."""
        ...

    def share(self, exit: int) -> float:
        """What a pass up to this exit reads of the weights, as a share of a whole pass."""
        ...

    def guess(
        self, context: object, exits: tuple[int, ...], sure: Callable[[Tensor], Tensor]
    ) -> Callable[[Draft], Tensor]:
        """What follows the rows of a tree that grows behind the target's `context`, logits_BMV. Each row leaves at the
        first of `exits`, ascending, whose logits_RV are sure (bool_R), at the last in any case."""
        ...

    def shadow(self, hidden_XF: Tensor, exits: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """ids_XE and sure_XE: the token that each exit would have said, and its probability before any warp; hidden_XF:
        the states that were tapped of those layers, as `Scores.hidden` gives them."""
        ...


@runtime_checkable
class Learner(Protocol):
    """A drafter whose next request starts from what this one taught it. Optional; text never depends on it."""

    def warmed(self, state: Any) -> Self: ...


@runtime_checkable
class Stored(Protocol):
    """A learner whose knowledge outlives the run. Optional; text never depends on it."""

    def stored(self, state: Any, room: int) -> dict[str, Tensor]:
        """What it learnt, as plain tensors of at most `room` bytes: the least useful is left out."""
        ...

    def restored(self, tensors: dict[str, Tensor]) -> Self:
        """This drafter, knowing what was stored. Raises BadInput for tensors that it never stored."""
        ...


@runtime_checkable
class Foresees(Protocol):
    """A drafter that can say what it expects behind the root before it drafts. Optional."""

    def foreseen(self, state: Any, shape: DraftShape) -> Tensor:
        """logits_BV, before any warp; `shape` is the draft's that comes next, which then costs no more for it."""
        ...


@runtime_checkable
class Rides(Protocol):
    """A drafter that says how many probes ride, at most, beside so many guesses of a depth asked for. Optional."""

    def riding(self, guesses: int, depth: int) -> int: ...


@runtime_checkable
class Cached(Protocol):
    """A part that keeps something for every token of a request. Optional; what it says bounds memory."""

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Of requests of so many tokens each, at most."""
        ...


@runtime_checkable
class Gradual(Protocol):
    """A decoder that can read a prompt chunk by chunk, before it starts. Optional."""

    def prepare(self, prompt_1T: Tensor) -> bool:
        """Read one more chunk; whether `start` has at most a chunk left to read."""
        ...


class Verifier(Protocol):
    """Decides which guesses stand. Stateless."""

    exact: ClassVar[bool]
    """Committed tokens follow the warped target distribution, whatever the draft."""
    seeded: ClassVar[bool]
    """Committed tokens are a function of seed, position and target alone: the same seed gives the same text."""
    accepts: ClassVar[frozenset[Siblings]]
    trees: ClassVar[bool]
    """Whether a draft may branch."""

    def verify(self, draft: Draft, target_BMV: Tensor, noise: Noise) -> Verdict:
        """target_BMV: warped target probabilities, float32, rows as in `LanguageModel.score`."""
        ...


class Policy(Protocol[State]):
    """Decides how much to guess next."""

    @property
    def taps(self) -> Taps:
        """What it reads of the target."""
        ...

    def start(self, batch: int) -> State: ...

    def shape(self, state: State) -> DraftShape: ...

    def observe(self, state: State, draft: Draft, verdict: Verdict, scores: Scores) -> State: ...


class Constraint(Protocol[State]):
    """What may come next, on every node of a tree, before any warp."""

    def start(self, prompt_BT: Tensor) -> State: ...

    def adjust(self, state: State, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """Row 0 is the root, row i + 1 is node i, whose history is its own path."""
        ...

    def observe(self, state: State, verdict: Verdict, scores: Scores) -> State:
        """scores: the target's own, before `adjust`; `along_path` finds the row behind each committed token."""
        ...


@runtime_checkable
class Forces(Protocol):
    """A constraint that can say where one token alone may come. Optional; text never depends on it."""

    def forced(self, state: Any, depth: int) -> Tensor:
        """tokens_BN: what must follow the root, at most `depth` of it; PAD behind."""
        ...


class Decoder(Protocol[State]):
    """One way of turning a model into tokens. `decoders.generate` turns the crank."""

    def start(self, prompt_BT: Tensor, noise: Noise) -> State: ...

    def step(self, state: State) -> tuple[State, Step]: ...


AnyDecoder = Decoder[Any]
