"""The seams of distillation: whose tokens, which signal, which distance, which tokens count, how the target moves.

    Rollouts -> TextBatch -+-> Teacher.signal -> Curriculum.target -+
                           +-> student --------------------------> Objective -> nats_N -> Weighting, mask, mean

Rows are positions that count (`texts.Positions`); `p` is the teacher, `q` the student. What a part remembers between
steps is a state of plain dicts, lists, numbers and tensors, which the checkpoint holds.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol, TypeVar, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from decant.distill.texts import Positions, TextBatch
from decant.distill.trainer import Share
from decant.errors import BadInput, IncompatibleParts
from decant.models.student import States
from decant.numerics import FLOOR
from decant.types import PAD

State = TypeVar("State")
_SKETCHING: Final = ContextVar("sketching", default=False)

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(p_logp_XV, q_logp_XV) -> nats_X, unreduced. Both are normalised, float32 or float64; -inf: a model says never."""

Gives = Literal["nothing", "law", "dense", "states", "spans"]
"""What an objective needs of a teacher: nothing; a law, perhaps only its best ids and the rest in one; the law over the
whole vocabulary; hidden states as well; what it thinks of the same text in its own tokens."""


class Law(Protocol):
    """What a teacher thinks at some rows."""

    def softened(self, temperature: float) -> "Law":
        """At a temperature. Raises BadInput where only another is known."""
        ...

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(p_logp_XO, q_logp_XO, label_X) over the same O outcomes: the vocabulary, or the best ids and all others
        together; the label as one of these outcomes."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """logp_XV: over the whole vocabulary. A wider student's other ids are cut off, as ids that no text holds."""

    logp_XV: Tensor

    def softened(self, temperature: float) -> "Dense":
        """Logits over the temperature."""
        return self if temperature == 1 else Dense((self.logp_XV / temperature).log_softmax(-1))

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both over the ids that both have."""
        size = min(self.logp_XV.shape[-1], q_logp_XV.shape[-1])
        p, q = (one if one.shape[-1] == size else one[..., :size].log_softmax(-1) for one in (self.logp_XV, q_logp_XV))
        return p, q, label_X


def whole(law: Law) -> Tensor:
    """logp_XV, for who mixes or stores laws. Raises IncompatibleParts for a law of another kind than `Dense`."""
    if not isinstance(law, Dense):
        raise IncompatibleParts(f"{type(law).__name__} is no plain law over the vocabulary; take live teachers")
    return law.logp_XV


@final
@dataclass(frozen=True, slots=True, eq=False)
class Coarse:
    """The best ids, and all others together; at all N positions it is a signal as well.

    ids_XK: distinct in a row, PAD where fewer are known; logp_XK: theirs, -inf beside PAD. rest_X: log of the mass of
    all others. vocab: how many ids there are. temperature: of the law that these were taken from; at another one the
    mass of the others is not known.
    """

    ids_XK: Tensor
    logp_XK: Tensor
    rest_X: Tensor
    vocab: int
    temperature: float = 1.0

    def law(self, rows: slice) -> "Coarse":
        """At these rows."""
        return Coarse(self.ids_XK[rows], self.logp_XK[rows], self.rest_X[rows], self.vocab, self.temperature)

    def softened(self, temperature: float) -> "Coarse":
        """As it is. Raises BadInput for another temperature."""
        if temperature != self.temperature:
            raise BadInput(
                f"only the teacher's best {self.ids_XK.shape[-1]} ids at temperature {self.temperature:g} are known, "
                f"which do not tell its law at {temperature:g}; train at {self.temperature:g}, or take a live teacher"
            )
        return self

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Over the K best ids and the rest, which is outcome K; so is a label that is none of them.

        The student's rest is summed over all other ids: 1 - sum would be rounding, and a gradient of 1 / rounding.
        """
        size = min(self.vocab, q_logp_XV.shape[-1])
        known_XK = (self.ids_XK != PAD) & (self.ids_XK < size)
        ids_XK = self.ids_XK.where(known_XK, size)  # a column behind all others takes what is absent
        p_XK = self.logp_XK.masked_fill(~known_XK, -torch.inf)
        rest_X = self.rest_X.masked_fill(known_XK.sum(-1) >= size, -torch.inf)  # no id is left: it is rounding
        p = torch.cat([p_XK, rest_X[:, None]], -1).log_softmax(-1)
        q_XV = q_logp_XV if q_logp_XV.shape[-1] == size else q_logp_XV[..., :size].log_softmax(-1)
        q_XV = torch.nn.functional.pad(q_XV, (0, 1), value=FLOOR)
        q_rest_X = q_XV.scatter(-1, ids_XK, FLOOR).logsumexp(-1)
        hit_XK = ids_XK == label_X[:, None]
        label_X = hit_XK.int().argmax(-1).where(hit_XK.any(-1), ids_XK.shape[-1])
        return p, torch.cat([q_XV.gather(-1, ids_XK), q_rest_X[:, None]], -1), label_X


class Signal(Protocol):
    """What a teacher thinks of a batch, a chunk of rows at a time."""

    def law(self, rows: slice) -> Law:
        """At these of the N positions."""
        ...


class Teacher(Protocol):
    """Someone to learn from."""

    gives: ClassVar[frozenset[str]]  # of `Gives`

    def signal(self, batch: TextBatch, at: Positions) -> Signal:
        """No gradient ever reaches it. Raises BadInput for a text that it does not know."""
        ...


Target = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(p_logp_XV, q_logp_XV without gradient, label_X) -> p_logp_XV: what the student is asked to say."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """All that an objective sees of a batch.

    student: its states, with gradients. signal: None without a teacher. target: the curriculum's, for this step.
    extra:   the objective's own weights, as `extra` below made them; they are trained along and not exported.
    """

    batch: TextBatch
    at: Positions
    student: States
    signal: Signal | None
    target: Target
    step: int
    extra: nn.Module | None = None

    @property
    def teacher(self) -> States:
        """The teacher's states, without gradients; for an objective that needs states."""
        return self.signal.states  # type: ignore[union-attr]


class Objective(Protocol):
    """What is asked of the student. It says what it `needs` of a teacher (`Gives`; a class's constant, or a property
    where a knob decides). It may have `looks` and `teacher_looks` (`Looks`: what it reads of either model
    besides the last states) and `extra(student, teacher) -> nn.Module | None` (weights of its own, from the models'
    configurations)."""

    def __call__(self, study: Study) -> Tensor:
        """nats_N, unweighted and unreduced."""
        ...


def needs_of(objective: Objective) -> Gives:
    """What it asks of a teacher."""
    return objective.needs  # type: ignore[attr-defined]


class Weighting(Protocol[State]):
    """Which tokens count, and how much. It may have `looks`, what it reads of the student besides the last states,
    `needs`, what it asks of the teacher (`Gives`), and `reruns`, that it runs layers of the student by itself."""

    def start(self) -> State:
        """At step 0."""
        ...

    def weights(self, state: State, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N >= 0, without a gradient, for each position's weight. It depends on the position's own text alone,
        so that micro-batches do not matter."""
        ...

    def observe(self, state: State, step: int, steps: int, nats: float) -> State:
        """Once an optimiser step, with its mean nats."""
        ...


class Curriculum(Protocol[State]):
    """How the target moves."""

    def start(self) -> State:
        """At step 0."""
        ...

    def target(self, state: State, p_logp_XV: Tensor, q_logp_XV: Tensor, label_X: Tensor) -> Tensor:
        """What the student is asked to say now; `Target`."""
        ...

    def observe(self, state: State, step: int, steps: int, nats: float) -> State:
        """Once an optimiser step, with its mean nats."""
        ...


def writes(rollouts: "Rollouts[Any]") -> bool:
    """Whether it may ask the student between passes."""
    return getattr(rollouts, "writes", True)


class Speaker(Protocol):
    """The student, or a teacher, as it is now, writing answers."""

    def write(self, prompts: list[list[int]], seeds: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """Of each prompt the answer's ids (its end token, where it came, included) and each id's log-probability before
        any warp. The same seed writes the same answer."""
        ...


class Rollouts(Protocol[State]):
    """Whose tokens. It may say `writes` = False: it never asks the student, and is given no speaker."""

    def start(self) -> State:
        """At step 0."""
        ...

    def batch(self, state: State, step: int, share: Share, student: Speaker) -> tuple[TextBatch, State]:
        """This process's rows of a step. A function of step, state and student alone; the new state is the same in all
        processes."""
        ...

    def observe(self, state: State, step: int, steps: int, nats: float) -> State:
        """Once an optimiser step, with its mean nats over all processes."""
        ...


def by_chunks(rows: int, vocab: int, nats: Callable[[slice], Tensor], elements: int = 2**22) -> Tensor:
    """nats_N of a function of row slices, which is run again for gradients: what is as wide as the vocabulary lives for
    one chunk only, of at most `elements` numbers."""
    size = max(1, elements // vocab)
    return over([slice(first, min(first + size, rows)) for first in range(0, max(rows, 1), size)], nats)


def over(parts: Sequence[slice], nats: Callable[[slice], Tensor]) -> Tensor:
    """nats_N of a function of row slices, part by part; run again for gradients, so that one part lives at a time."""
    if torch.is_grad_enabled() and len(parts) > 1:
        both = {"use_reentrant": False, "context_fn": lambda: (_sketch(), nullcontext())}
        return torch.cat([checkpoint(nats, part, **both) for part in parts])
    return torch.cat([nats(part) for part in parts])


def sketching() -> bool:
    """Whether what is computed now is computed again for gradients, so that values are all that is wanted."""
    return _SKETCHING.get()


@contextmanager
def _sketch() -> Iterator[None]:
    token = _SKETCHING.set(True)
    try:
        yield
    finally:
        _SKETCHING.reset(token)
