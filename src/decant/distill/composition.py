"""One training out of parts: whose tokens, which signal, which distance, which tokens count, how the target moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import torch
from torch import Tensor, nn

from decant.distill.curricula.constant import Constant
from decant.distill.seams import Curriculum, Objective, Rollouts, Speaker, Study, Teacher, Weighting
from decant.distill.texts import Positions, TextBatch
from decant.distill.trainer import Share
from decant.distill.weighting.every import Every
from decant.errors import IncompatibleParts
from decant.models.student import Looks, read
from decant.types import select_rows

PARTS: Final = ("rollouts", "weighting", "curriculum")


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """An objective and its share of the sum."""

    objective: Objective
    share: float = 1.0


@final
class Learner(nn.Module):
    """What the optimiser sees: the student, and the objectives' own weights, which are not exported."""

    def __init__(self, student: Any, extras: Sequence[nn.Module | None]) -> None:
        super().__init__()
        self.student = student
        self.extras = nn.ModuleList(nn.Identity() if extra is None else extra for extra in extras)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """A `trainer.Training`.

    micro: rows that are read at once; the gradient is the same up to rounding whatever it is.
    Raises IncompatibleParts for an objective that the teacher cannot serve.
    """

    learner: Learner
    speaker: Speaker
    rollouts: Rollouts[Any]
    objectives: tuple[Asked, ...]
    teacher: Teacher | None = None
    weighting: Weighting[Any] = field(default_factory=Every)
    curriculum: Curriculum[Any] = field(default_factory=Constant)
    steps: int = 1
    micro: int = 8

    def __post_init__(self) -> None:
        gives = frozenset({"nothing"}) if self.teacher is None else self.teacher.gives | {"nothing"}
        for asked in self.objectives:
            if asked.objective.needs not in gives:
                raise IncompatibleParts(
                    f"{type(asked.objective).__name__} needs {asked.objective.needs} of a teacher, and "
                    f"{type(self.teacher).__name__ if self.teacher else 'no teacher'} gives {', '.join(sorted(gives))}"
                )

    def start(self) -> dict[str, Any]:
        """What every part remembers."""
        return {name: getattr(self, name).start() for name in PARTS}

    def batches(self, state: dict[str, Any], step: int, share: Share) -> tuple[list[TextBatch], dict[str, Any]]:
        """This process's rows, in pieces."""
        batch, rollouts = self.rollouts.batch(state["rollouts"], step, share, self.speaker)
        rows = torch.arange(len(batch))
        return [select_rows(batch, part) for part in rows.split(self.micro)], {**state, "rollouts": rollouts}

    def weight(self, piece: TextBatch) -> Tensor:
        """The sum of the weights, whatever the weighting makes of them."""
        return piece.weight

    def nats(self, state: dict[str, Any], step: int, piece: TextBatch) -> Tensor:
        """Weighted nats, summed; a batch in which nothing counts has none."""
        student = self.learner.student
        batch = _cut(piece)
        if not float(batch.weight):  # sync: a row may be empty where another of its step is not
            return next(student.parameters()).sum() * 0.0
        batch = _to(batch, student.device)
        at = Positions.of(batch)
        signal = None if self.teacher is None else self.teacher.signal(batch, at)
        states = read(student, batch.ids_BT, at.row_N, at.at_N, looks_of(self.objectives))
        nats_N = torch.zeros_like(at.weight_N)

        def target(p: Tensor, q: Tensor, label_X: Tensor) -> Tensor:
            return self.curriculum.target(state["curriculum"], p, q, label_X)

        study = Study(batch, at, states, signal, target, step)
        for asked, extra in zip(self.objectives, self.learner.extras, strict=True):
            own = None if isinstance(extra, nn.Identity) else extra
            study = Study(batch, at, states, signal, target, step, own)
            nats_N = nats_N + asked.share * asked.objective(study)
        factor_N = self.weighting.weights(state["weighting"], study, nats_N.detach())
        return (nats_N * at.weight_N * factor_N).sum()

    def observe(self, state: dict[str, Any], step: int, nats: float) -> dict[str, Any]:
        """Once an optimiser step."""
        return {name: getattr(self, name).observe(state[name], step, self.steps, nats) for name in PARTS}


def looks_of(objectives: Sequence[Asked]) -> Looks:
    """What all of them read."""
    looks = Looks()
    for asked in objectives:
        looks = looks | getattr(asked.objective, "looks", Looks())
    return looks


def _cut(batch: TextBatch) -> TextBatch:
    """Without columns in which nothing counts any more: a piece may be shorter than its step."""
    used_T = (batch.weights_BT > 0).any(0).nonzero()
    width = max(2, int(used_T.max()) + 1) if len(used_T) else 2  # sync: the width depends on the texts
    return TextBatch(
        batch.ids_BT[:, :width], batch.weights_BT[:, :width], batch.prompts_B, batch.domains_B, batch.numbers_B,
        batch.logp_BT[:, :width],
    )  # fmt: skip


def _to(batch: TextBatch, device: torch.device) -> TextBatch:
    names = ("ids_BT", "weights_BT", "prompts_B", "domains_B", "numbers_B", "logp_BT")
    return TextBatch(*(getattr(batch, name).to(device) for name in names))
