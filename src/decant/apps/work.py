"""What a run of `decant distill` over a whole student works with: models, texts, settings; and how it is timed."""

import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from torch.distributed.tensor import DTensor

from decant.apps.caches import Cache, Keeping, kept
from decant.apps.catalog import pick
from decant.apps.catalog.swaps import SWAPS
from decant.apps.choosing import warp_of
from decant.apps.compose import compose, plain
from decant.apps.crews import spread, voices
from decant.apps.knobs import knobs_of, split, values_of
from decant.apps.ranks import agreed, first
from decant.apps.sampling import Sampling
from decant.apps.teachers import Mentor, adapted, check, opened
from decant.apps.teaching import HELD_OUT, MIXTURE, Asked, Told, place, recipe_of, rows_of
from decant.apps.texts import Shelf, encoded, read
from decant.decoders.stopping import Stopping
from decant.distill import checkpoint
from decant.distill.answers import FILE, Writing, write
from decant.distill.composition import Composition
from decant.distill.measure import Apart, measured
from decant.distill.parallel import join
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.mixture import Mixture
from decant.distill.rollouts.stream import Stream
from decant.distill.rollouts.teacher_samples import teacher_samples
from decant.distill.runs import TRAINING
from decant.distill.seams import Rollouts
from decant.distill.settings import Settings
from decant.distill.texts import Text, TextBatch
from decant.distill.trainer import Share, run
from decant.errors import BadInput
from decant.models.current import positions
from decant.models.load import load, speller
from decant.models.lora import merged
from decant.models.trainee import Trainee
from decant.recipes.kit import Flat, Kit, Recipe
from decant.recipes.swaps import Role, Swap

TIMED: Final = 3  # steps that are timed; the first does not count
WIDE: Final = 0.1  # the peak falls as 1 / width: 1e-3 for a student of width 96, 2e-5 for one of 4096
STUDENT: Final = "student."  # names of its weights in a checkpoint of `Learner`
THIN: Final = 10  # adapters learn at about ten times the rate of whole matrices


@final
@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Models, texts and settings of a run. held_out: texts that only measure. keeping: a cache, opened or not."""

    asked: Asked
    recipe: Recipe
    trainee: Trainee
    kit: Kit
    held_out: list[Text]
    mentor: Mentor
    keeping: Keeping | None = None

    @classmethod
    def open(cls, asked: Asked, told: Told, dry: bool = False) -> "Work":
        """Raises BadInput or IncompatibleParts for what cannot be trained, before anything is. dry: only to look."""
        recipe: Recipe = recipe_of(asked.recipe)
        asked.refuse("the teacher writes as the recipe says", "temperature")
        if asked.student is None:
            name = split(asked.recipe).name
            raise BadInput(f"{name} teaches a student; name one with --student (a folder, a Hub id, house:draft)")
        rows = None if asked.texts == MIXTURE else read(asked.texts, asked.limit, asked.seed)
        device = place(asked.device)
        trainee = adapted(Trainee.open(asked.student, device), asked.lora, asked.seed)
        bridges = bool(getattr(recipe, "bridges", False))
        asked = replace(asked, length=min(asked.length, positions(trainee.network)))

        def live() -> Mentor:
            if asked.ray is not None:
                check(asked, trainee, bridges)
                return spread(asked)
            return opened(asked, trainee, device, bridges, dry)

        mentor = Mentor("", source=Cache()) if kept(asked) else live()
        shelf = Shelf([], [], [""]) if rows is None else encoded(rows, trainee.speller, trainee.ends)
        stream = Stream(rows_of(asked, told)[0]) if rows is None else None
        kit = _kit(asked, trainee, mentor, shelf, stream)
        asking = list(kit.prompts)
        drafts = _drafts(kit)
        kit = replace(kit, write=lambda heat: answered(asked, asking, heat, told, drafts))
        composed = recipe.compose(replace(kit, dry=True))
        if isinstance(recipe, Flat):
            asked.refuse("its loop is flat; hinton:alpha=1 is the same out of parts", "shard", "tensorboard", *SWAPS)
        if asked.shard and not dry and join().world == 1:
            raise BadInput(
                "--shard spreads a student over processes, and here is one; start with torchrun --nproc-per-node N -m "
                "decant distill ..., or leave it out"
            )
        held_out = shelf.texts[::HELD_OUT] if len(shelf.texts) > 1 else []  # one alone is taught
        work = cls(asked, recipe, trainee, kit, held_out, mentor)
        return work._cached(composed, shelf.texts, live, told, dry) if kept(asked) else work

    def _cached(
        self, composed: Composition, texts: list[Text], live: Callable[[], Mentor], told: Told, dry: bool
    ) -> "Work":
        """With the cache open; if it is only looked at, as it is."""
        keeping = Keeping.of(self.asked, self.trainee, texts, composed, live)
        if dry and not keeping.finished:
            return replace(self, keeping=keeping)
        mentor = keeping.mentor(told)
        return replace(self, keeping=keeping, mentor=mentor, kit=replace(self.kit, source=mentor.source))

    def apart(self) -> Apart | None:
        """How far the student is from the teacher on texts that it is not taught on; None where token by token says
        nothing, or where there are only prompts."""
        kit = self.kit
        batches = self._measuring()
        if batches is None or not kit.spellers[0].same(kit.spellers[1]):
            return None
        return measured(self._whole().network, kit.source or kit.model(), batches)

    def _whole(self) -> Trainee:
        """What is taught, in one piece: of a student that was spread over processes, a new one from its checkpoint."""
        if not any(isinstance(weight, DTensor) for weight in self.trainee.network.parameters()):
            return self.trainee
        found = checkpoint.read(self.kit.folder)
        assert found is not None
        whole = adapted(Trainee.open(self.trainee.name, place(self.asked.device)), self.asked.lora, self.asked.seed)
        mine = {name.removeprefix(STUDENT): value for name, value in found["model"].items() if name.startswith(STUDENT)}
        checkpoint.load(whole.network, mine)
        return whole

    def _measuring(self) -> Iterator[TextBatch] | None:
        kit = self.kit
        if kit.stream is not None:
            # A stream never repeats itself: far behind the last step nothing was learnt from.
            far = range(10**9, 10**9 + max(1, 64 // kit.rows))
            return (kit.stream.batch(None, at, Share(), None)[0] for at in far)  # type: ignore[arg-type]
        if not any(text.teaches(kit.length) for text in self.held_out):
            return None
        rows = Dataset(self.held_out, kit.rows, kit.length)
        steps = range(-(-len(self.held_out) // kit.rows))
        return (rows.batch(None, at, Share())[0] for at in steps)

    def steps(self, seconds: float | None = None) -> int:
        """Those asked for, or as many as fit the minutes."""
        if self.asked.minutes is None:
            return self.asked.steps
        return agreed(join(), max(1, int(self.asked.minutes * 60 / (seconds or self.seconds_a_step()))))

    def seconds_a_step(self) -> float:
        """Timed on copies, in a folder that is thrown away: each kind of step by its share, and the steps of a
        reference that is taught first."""
        kit = self.kit
        settings = replace(kit.settings, steps=TIMED, warmup=0, quiet=True, save_every=TIMED)
        total = 0.0
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if isinstance(kit.source, Cache):
                assert self.keeping is not None
                mentor, texts = self.keeping.sample(TIMED * kit.rows, folder / "laws")
                kit = replace(kit, source=mentor.source, texts=texts)
            kit = replace(kit, settings=settings, folder=folder, dry=True)
            for at, (_, share) in enumerate(_kinds(self.recipe.compose(kit).rollouts)):
                composition = self.recipe.compose(replace(kit, student=deepcopy(kit.student)))
                composition = replace(composition, rollouts=_kinds(composition.rollouts)[at][0])
                total += share * _timed(composition, settings, folder / str(at))
        return total * (1 + getattr(self.recipe, "reference", 0.0))

    def export(self) -> None:
        """A folder for plain transformers; adapters are merged."""
        trainee = self._whole()
        if self.asked.lora is not None:
            trainee = replace(trainee, network=merged(trainee.network))
        trainee.export(self.asked.out)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """A training that says when a step is done."""

    inner: Any
    tell: Callable[[], None]

    def observe(self, state: Any, step: int, nats: float) -> Any:
        self.tell()
        return self.inner.observe(state, step, nats)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def _kinds(rollouts: Rollouts[Any]) -> list[tuple[Rollouts[Any], float]]:
    return rollouts.kinds() if isinstance(rollouts, Mixture) else [(rollouts, 1.0)]


def _timed(composition: Composition, settings: Settings, folder: Path) -> float:
    """Seconds a step."""
    times: list[float] = []
    watched: Any = Watched(composition, lambda: times.append(time.perf_counter()))
    run(composition.learner, watched, settings, folder)
    return (times[-1] - times[0]) / (TIMED - 1)


def _drafts(kit: Kit) -> bool:
    """Whether the student may pay as its teacher's draft: it spells alike, and is half as large at most."""
    if kit.teacher is None or not kit.spellers[0].same(kit.spellers[1]):
        return False
    mine, theirs = (sum(weight.numel() for weight in one.parameters()) for one in (kit.student, kit.teacher.network))
    return 2 * mine <= theirs


def answered(
    asked: Asked, prompts: list[list[int]], temperature: float, told: Told, drafts: bool = False
) -> list[Text]:
    """The teacher's own answers, kept in the run folder; one that was cut short has no end to learn and is dropped.

    drafts: the student, as it was given, guesses for its teacher; what is written is the same.
    """
    file = asked.out / TRAINING / f"{temperature:g}-{FILE}"
    target = load(asked.teacher, device=place(asked.device), exact="off")
    warp = warp_of(Sampling(temperature=temperature))
    if drafts and asked.student is not None:
        draft = load(asked.student, device=place(asked.device), exact="off")
        decoder = compose("draft-model", target, draft, warp).decoder
    else:
        decoder = plain(target, warp).decoder
    writing = Writing(Stopping(asked.max_tokens, target.ends), asked.batch, asked.seed, target.model.network.device)

    def written() -> list[Text]:
        answers = write(decoder, prompts, file, writing, lambda done, total: told(done, total, "answers"))
        return teacher_samples(answers, target.ends)

    return first(join(), written)


def _swaps(asked: Asked) -> dict[Role, Swap]:
    """What was named in the place of the recipe's parts. Raises UnknownMethod, or BadInput for a knob."""
    found: dict[Any, Swap] = {}
    for role, table in SWAPS.items():
        if (spec := getattr(asked, role)) is not None:
            wanted = split(spec)
            made = pick(table, wanted.name, role).get()
            found[role] = Swap(made, values_of(wanted, knobs_of(made)))
    return found


def _kit(asked: Asked, trainee: Trainee, mentor: Mentor, shelf: Shelf, stream: Stream | None) -> Kit:
    rate = WIDE / trainee.network.config.get_text_config().hidden_size
    settings = Settings(
        steps=asked.steps,
        peak=(rate if asked.lora is None else THIN * rate) if asked.rate is None else asked.rate,
        warmup=min(100, asked.steps // 10),
        decay=0.5,
        weight_decay=0.01,
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
        shard=asked.shard,
    )
    alone = len(shelf.texts) == 1
    theirs = trainee.speller if mentor.model is None else speller(asked.teacher)
    taught = [text for at, text in enumerate(shelf.texts) if at % HELD_OUT or alone]
    return Kit(
        student=trainee.network,
        teacher=mentor.model,
        texts=taught,
        prompts=[*(text.ids[: text.prompt] for text in taught if text.prompt), *shelf.prompts],
        domains=shelf.domains,
        spellers=(trainee.speller, theirs),
        ends=trainee.ends,
        settings=settings,
        folder=asked.out / TRAINING,
        rows=asked.batch,
        micro=asked.micro or asked.batch,
        length=asked.length,
        answers=asked.max_tokens,
        seed=asked.seed,
        stream=stream,
        source=mentor.source,
        spread=voices(asked),
        swaps=_swaps(asked),
    )
