"""What a recipe composes with, and the seam of recipes."""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

from decant.distill.composition import Asked, Composition, learner, looks_of, served
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.stream import Stream
from decant.distill.seams import Rollouts, Speaker, needs_of, writes
from decant.distill.seams import Teacher as Source
from decant.distill.settings import Settings
from decant.distill.speaking import Speaking
from decant.distill.teachers.across import Across
from decant.distill.teachers.live import Live
from decant.distill.texts import Text
from decant.distill.trainer import run
from decant.distill.writing import Writing
from decant.errors import BadInput, IncompatibleParts
from decant.models.current import current, swift
from decant.models.speller import Speller
from decant.models.spelling import vocabulary
from decant.models.teacher import Teacher
from decant.recipes.swaps import Role, Swap, swapped
from decant.samplers.temperature import temperature as softened


@final
@dataclass(frozen=True, slots=True, eq=False)
class Kit:
    """What there is to compose with.

    student:  a model of transformers, trained in place. teacher: frozen; None: none in memory, or several.
    texts:    with answers, numbered; prompts: ids to answer; domains: the names of the texts'.
    spellers: of student and teacher. ends: the student's ids that end a text.
    settings: of the trainer; rows: texts of a step; micro: of them at once; length: tokens of a text, at most.
    answers:  tokens of an answer, at most. folder: where a recipe may keep what it makes.
    stream:   texts without end, in place of `texts`. write: the teacher's answers at a temperature.
    source:   who says laws in the teacher's place. spread: who writes, in place of the student here, with a copy of it
              at a temperature.
    swaps:    parts in the place of a recipe's own.
    dry:      nothing is trained or written beforehand: the composition is only to be timed.
    """

    student: Any
    teacher: Teacher | None
    texts: Sequence[Text]
    prompts: Sequence[list[int]]
    domains: Sequence[str]
    spellers: tuple[Speller, Speller]
    ends: frozenset[int]
    settings: Settings
    folder: Path
    rows: int = 8
    micro: int = 8
    length: int = 512
    answers: int = 128
    seed: int = 0
    stream: Stream | None = None
    write: Callable[[float], list[Text]] = lambda temperature: []
    source: Source | None = None
    spread: Callable[[Any, float], Speaker] | None = None
    swaps: Mapping[Role, Swap] = field(default_factory=dict)
    dry: bool = False

    def model(self) -> Teacher:
        """The teacher itself. Raises IncompatibleParts where there are only its laws."""
        if self.teacher is None:
            raise IncompatibleParts(
                "this recipe needs the teacher itself, one model in memory, and what was named only says laws (several "
                "models, a server, a cache, workers); name one model with --teacher, without --cache and --ray"
            )
        return self.teacher

    def rows_of(self, texts: Sequence[Text] | None = None) -> Dataset | Stream:
        """The texts with their answers. Raises BadInput where there are none."""
        chosen = self.texts if texts is None else texts
        if self.stream is not None and texts is None:
            return self.stream
        if not chosen:
            raise BadInput(
                "this recipe learns from answers, and the data holds prompts alone; give answers, or take a recipe in "
                "which a model answers (seqkd, distillspec, gkd:lmbda=1)"
            )
        return Dataset(chosen, self.rows, self.length, self.seed)

    def asked(self) -> list[list[int]]:
        """The prompts. Raises BadInput where there are none."""
        if not self.prompts:
            raise BadInput(
                "in this recipe a model answers, and the data holds no prompts; give prompts or conversations"
            )
        return list(self.prompts)

    def written(self, *temperatures: float) -> Rollouts[Any]:
        """The teacher's own answers to the prompts, at each temperature; none given: greedily."""
        self.asked()
        self.model()
        if self.dry:  # answers in the data are the best guess at how long the teacher's will be
            return self.rows_of() if self.texts or self.stream else self.questions()
        texts = [text for heat in temperatures or (0.0,) for text in self.write(heat)]
        return self.rows_of([replace(text, number=number) for number, text in enumerate(texts)])

    def unwritten(self, times: int = 1) -> str:
        """What `written` would have to write, in a plan's words."""
        count = times * len(self.prompts)
        return f"the teacher writes {count:,} answers of at most {self.answers} tokens, not timed here"

    def questions(self) -> Rollouts[Any]:
        """The prompts, to be answered anew."""
        end = min(self.ends, default=0)
        return self.rows_of([Text.answer([*ids, end], len(ids), at) for at, ids in enumerate(self.asked())])

    def writing(self) -> Writing:
        """How answers are written while training goes on."""
        return Writing(self.answers, self.seed)

    def speaker(self, temperature: float = 1.0, mixes: bool = False) -> Speaker:
        """The student as it is now, in the type that writes fastest. mixes: its teacher may have a say, which is
        packed for that and lies in memory once more."""
        warp = None if temperature == 1 else softened(temperature)
        if self.spread is not None and not mixes and not self.dry:
            return self.spread(self.student, temperature)
        teacher = current(self.model().network, swift(self.model().network)) if mixes else None
        return Speaking(self.student, self.ends, warp, swift(self.student), teacher=teacher)

    def across(self) -> Across:
        """The teacher, read through its own tokenizer."""
        mine, theirs = (vocabulary(one.tokenizer) for one in self.spellers)
        return Across.of(self.model(), mine, theirs)

    def composed(
        self, rollouts: Rollouts[Any], objectives: Sequence[Asked], temperature: float = 1.0, **parts: Any
    ) -> Composition:
        """The student, these rollouts and objectives, and other parts by name; the teacher is live unless another is
        one of them, and absent where nobody asks it. An objective without a share is left out. Raises BadInput where
        none is left."""
        objectives = [asked for asked in objectives if asked.share]
        if not objectives:
            raise BadInput("every share is 0, so nothing is asked of the student; give one of them")
        rollouts, objectives, parts = swapped(self, rollouts, objectives, parts)
        asks = any(needs_of(asked.objective) != "nothing" for asked in objectives)
        teacher = parts.pop("teacher", None) or (self._law(objectives) if asks else None)
        served(objectives, teacher)
        config = None if self.teacher is None else self.teacher.config
        return Composition(
            learner=learner(self.student, objectives, config, self.seed),
            speaker=parts.pop("speaker", None) or (self.speaker(temperature) if writes(rollouts) else None),
            rollouts=rollouts,
            objectives=tuple(objectives),
            teacher=teacher if asks else None,
            steps=self.settings.steps,
            micro=self.micro,
            **parts,
        )

    def _law(self, objectives: Sequence[Asked]) -> Source:
        """Who says laws."""
        return self.source or Live(self.model(), looks_of(objectives, "teacher_looks"))

    def apart(self, recipe: "Recipe", share: float, name: str) -> Any:
        """A copy of the student, trained by another recipe for a share of the steps, and frozen: a reference."""
        if self.dry:
            return self.student
        steps = max(1, round(share * self.settings.steps))
        # Whole in every process: it is read as a teacher is, outside the passes that gather what was spread.
        settings = replace(self.settings, steps=steps, warmup=min(self.settings.warmup, steps // 10), shard=False)
        kit = replace(self, student=deepcopy(self.student), settings=settings, folder=self.folder / name, swaps={})
        composition = recipe.compose(kit)
        run(composition.learner, composition, settings, kit.folder)
        return kit.student.eval().requires_grad_(False)


class Recipe(Protocol):
    """A way to teach a student; its fields are the knobs."""

    def compose(self, kit: Kit) -> Composition:
        """The training. Raises BadInput where the kit lacks what it needs."""
        ...


@runtime_checkable
class Flat(Protocol):
    """A recipe with a loop of its own."""

    def teach(self, kit: Kit) -> None:
        """All steps, in one process; it does not go on where it was stopped."""
        ...
