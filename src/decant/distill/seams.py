"""The seams of distillation: whose tokens, which signal, which distance, which tokens count, how the target moves.

    Rollouts -> TextBatch -+-> Teacher.signal -> Curriculum.target -+
                           +-> student --------------------------> Objective -> nats_N -> Weighting, mask, mean

Rows are positions that count (`texts.Positions`); `p` is the teacher, `q` the student. What a part remembers between
steps is a state of plain dicts, lists, numbers and tensors, which the checkpoint holds.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeVar, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from decant.distill.texts import Positions, TextBatch
from decant.distill.trainer import Share
from decant.models.student import States

State = TypeVar("State")

Divergence = Callable[[Tensor, Tensor], Tensor]
"""(p_logp_XV, q_logp_XV) -> nats_X, unreduced. Both are normalised, float32 or float64; -inf: a model says never."""

Gives = Literal["nothing", "law", "dense", "states", "spans"]
"""What an objective needs of a teacher: nothing; a law, perhaps only its best ids and the rest in one; the law over the
whole vocabulary; hidden states as well; what it thinks of the same text in its own tokens."""


class Law(Protocol):
    """What a teacher thinks at some rows."""

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(p_logp_XO, q_logp_XO, label_X) over the same O outcomes: the vocabulary, or the best ids and all others
        together; the label as one of these outcomes."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """logp_XV: over the whole vocabulary. A wider student's other ids are cut off, as ids that no text holds."""

    logp_XV: Tensor

    def beside(self, q_logp_XV: Tensor, label_X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Both over the ids that both have."""
        size = min(self.logp_XV.shape[-1], q_logp_XV.shape[-1])
        p, q = (one if one.shape[-1] == size else one[..., :size].log_softmax(-1) for one in (self.logp_XV, q_logp_XV))
        return p, q, label_X


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


class Objective(Protocol):
    """What is asked of the student. It may have `looks: Looks` (what it reads of both models besides the last states)
    and `extra(student, teacher) -> nn.Module` (weights of its own, from the models' configurations)."""

    needs: ClassVar[Gives]

    def __call__(self, study: Study) -> Tensor:
        """nats_N, unweighted and unreduced."""
        ...


class Weighting(Protocol[State]):
    """Which tokens count, and how much."""

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


class Speaker(Protocol):
    """The student, or a teacher, as it is now, writing answers."""

    def write(self, prompts: list[list[int]], seeds: list[int], limit: int) -> list[tuple[list[int], list[float]]]:
        """Of each prompt the answer's ids (its end token, where it came, included) and each id's log-probability before
        any warp. The same seed writes the same answer."""
        ...


class Rollouts(Protocol[State]):
    """Whose tokens."""

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
    parts = [slice(first, min(first + size, rows)) for first in range(0, rows, size)]
    if torch.is_grad_enabled() and len(parts) > 1:
        return torch.cat([checkpoint(nats, part, use_reentrant=False) for part in parts])
    return torch.cat([nats(part) for part in parts])
