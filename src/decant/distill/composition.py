"""One training out of parts: whose tokens, which signal, which distance, which tokens count, how the target moves."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, final

import torch
from torch import Tensor, nn

from decant.distill.curricula.constant import Constant
from decant.distill.seams import Curriculum, Objective, Rollouts, Speaker, Study, Teacher, Weighting, needs_of
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


def learner(student: Any, objectives: Sequence[Asked], teacher: Any = None, seed: int = 0) -> Learner:
    """The student and what the objectives add, the same for the same seed; teacher: the configuration of its model."""
    extras = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for asked in objectives:
            extra = getattr(asked.objective, "extra", None)
            if needs_of(asked.objective) == "states" and teacher is None:
                raise IncompatibleParts(
                    f"{type(asked.objective).__name__} learns from a model's states; give that model's configuration"
                )
            made = None if extra is None else extra(student.config.get_text_config(), teacher)
            extras.append(None if made is None else made.to(student.device, torch.float32))
    return Learner(student, extras)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """A `trainer.Training`.

    speaker: the student, writing; None where the rollouts never ask it.
    micro: rows that are read at once; the gradient is the same up to rounding whatever it is, but with
           `PolicyGradient(whiten=True)`, which whitens the returns of what is read at once.
    Raises IncompatibleParts for an objective that the teacher cannot serve.
    """

    learner: Learner
    speaker: Speaker | None
    rollouts: Rollouts[Any]
    objectives: tuple[Asked, ...]
    teacher: Teacher | None = None
    weighting: Weighting[Any] = field(default_factory=Every)
    curriculum: Curriculum[Any] = field(default_factory=Constant)
    steps: int = 1
    micro: int = 8

    def __post_init__(self) -> None:
        served(self.objectives, self.teacher)
        _serve(self.weighting, getattr(self.weighting, "needs", "nothing"), self.teacher)
        looks, wanted = getattr(self.teacher, "looks", None), looks_of(self.objectives, "teacher_looks")
        if looks is not None and wanted not in looks:
            raise IncompatibleParts(
                f"objectives ask for {wanted} of the teacher, and {type(self.teacher).__name__} shows {looks}; give it "
                "looks_of(objectives, 'teacher_looks')"
            )

    def start(self) -> dict[str, Any]:
        """What every part remembers."""
        return {name: getattr(self, name).start() for name in PARTS}

    def batches(self, state: dict[str, Any], step: int, share: Share) -> tuple[list[TextBatch], dict[str, Any]]:
        """This process's rows, in pieces."""
        batch, rollouts = self.rollouts.batch(state["rollouts"], step, share, self.speaker)  # type: ignore[arg-type]
        rows = torch.arange(len(batch))
        return [select_rows(batch, part) for part in rows.split(self.micro)], {**state, "rollouts": rollouts}

    def weight(self, piece: TextBatch) -> Tensor:
        """The sum of the weights, whatever the weighting makes of them."""
        return piece.weight

    def nats(self, state: dict[str, Any], step: int, piece: TextBatch) -> Tensor:
        """Weighted nats, summed; a batch in which nothing counts has none."""
        student = self.learner.student
        batch = _to(_cut(piece), student.device)
        if not float(batch.weight):  # sync: a row may be empty where another of its step is not
            # Not nothing: where a student is spread over processes, its layers run in all of them or in none.
            first_1 = torch.zeros(1, dtype=torch.int64, device=student.device)
            return read(student, batch.ids_BT[:1], first_1, first_1).hidden_ND.sum() * 0.0
        at = Positions.of(batch)
        signal = None if self.teacher is None else self.teacher.signal(batch, at)
        looks = looks_of(self.objectives) | getattr(self.weighting, "looks", Looks())
        states = read(student, batch.ids_BT, at.row_N, at.at_N, looks)
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


def served(objectives: Sequence[Asked], teacher: Teacher | None) -> None:
    """Raises IncompatibleParts for an objective that the teacher cannot serve."""
    for asked in objectives:
        _serve(asked.objective, needs_of(asked.objective), teacher)


def _serve(part: object, needs: str, teacher: Teacher | None) -> None:
    gives = frozenset({"nothing"}) if teacher is None else teacher.gives | {"nothing"}
    if needs not in gives:
        raise IncompatibleParts(
            f"{type(part).__name__} needs {needs} of a teacher, and "
            f"{type(teacher).__name__ if teacher else 'no teacher'} gives {', '.join(sorted(gives))}; one model in "
            f"memory gives law, dense and states"
        )


def looks_of(objectives: Sequence[Asked], name: Literal["looks", "teacher_looks"] = "looks") -> Looks:
    """What all of them read of the student, or of the teacher."""
    looks = Looks()
    for asked in objectives:
        looks = looks | getattr(asked.objective, name, Looks())
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
