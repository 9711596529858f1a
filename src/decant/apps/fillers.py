"""`decant distill` of a model that fills in masks: made of a causal one, or taught on; no other model teaches it."""

import tempfile
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from decant.apps.knobs import split
from decant.apps.lessons import Lessons, lessons_of
from decant.apps.ranks import agreed
from decant.apps.teachers import adapted
from decant.apps.teaching import Asked, Outcome, Told, place, recipe_of
from decant.apps.work import TIMED, Watched
from decant.disk import write_text
from decant.distill.diffusion.card import NAMES, card
from decant.distill.diffusion.measure import Filled, measured
from decant.distill.diffusion.recipe import FillingRecipe, Material
from decant.distill.parallel import join
from decant.distill.runs import TRAINING, earlier, write_recipe
from decant.distill.settings import Settings
from decant.distill.trainer import run
from decant.errors import BadInput
from decant.models.current import positions
from decant.models.lora import merged
from decant.models.masked.convention import Convention
from decant.models.trainee import Trainee

WIDE: Final = 0.05  # the peak falls as 1 / width: 5e-4 for a model of width 100, 1.2e-5 for one of 4096
THIN: Final = 10  # adapters learn at about ten times the rate of whole matrices


@final
@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a run works with."""

    asked: Asked
    recipe: FillingRecipe
    trainee: Trainee
    convention: Convention
    lessons: Lessons
    settings: Settings

    @classmethod
    def open(cls, asked: Asked, told: Told, dry: bool = False) -> "Work":
        """Raises BadInput or IncompatibleParts for what cannot be taught. dry: only to look; nothing is written."""
        recipe: FillingRecipe = recipe_of(asked.recipe)
        name = split(asked.recipe).name
        if asked.teacher:
            raise BadInput(f"--teacher is not for {name}: a model learns to fill in masks from texts; leave it out")
        asked.refuse("no other model teaches", "cache", "ray", "workers")
        if asked.student is None:
            raise BadInput(f"{name} teaches a model; name it with --student (a folder, a Hub id, house:target)")
        trainee = Trainee.open(asked.student, place(asked.device))
        grown = Convention.of(trainee.network.config) is None
        convention = recipe.convention(trainee.network, asked.student)
        if grown and asked.lora is not None:
            raise BadInput(
                f"--lora leaves the table of embeddings as it is, and {asked.student} gets a new row for the mask; "
                f"leave --lora out"
            )
        trainee = adapted(trainee, asked.lora, asked.seed)
        asked = replace(asked, length=min(asked.length, positions(trainee.network)))
        return cls(
            asked, recipe, trainee, convention, lessons_of(asked, recipe, trainee, told, dry), _settings(asked, trainee)
        )

    def material(self, network: Any = None) -> Material:
        """With the model, or a copy of it."""
        asked, network = self.asked, self.trainee.network if network is None else network
        return Material(network, self.convention, self.lessons.taught, asked.micro or asked.batch, asked.seed)

    def measured(self) -> Filled:
        """On texts that nobody learns from."""
        batches = map(self.lessons.held_out, range(self.lessons.measured))
        return measured(self.trainee.network, self.convention, batches, self.asked.seed)

    def steps(self, seconds: float | None = None) -> int:
        """Those asked for, or as many as fit the minutes."""
        if self.asked.minutes is None:
            return self.asked.steps
        return agreed(join(), max(1, int(self.asked.minutes * 60 / (seconds or self.seconds_a_step()))))

    def seconds_a_step(self) -> float:
        """Timed on a copy, in a folder that is thrown away."""
        settings = replace(self.settings, steps=TIMED, warmup=0, quiet=True, save_every=TIMED)
        copy, times = deepcopy(self.trainee.network), []
        inner = self.recipe.training(self.material(copy))
        watched: Any = Watched(inner, lambda: times.append(time.perf_counter()))
        with tempfile.TemporaryDirectory() as name:
            run(copy, watched, settings, Path(name))
        return (times[-1] - times[0]) / (TIMED - 1)

    def export(self) -> None:
        """A folder that `load` opens; adapters are merged."""
        trainee = self.trainee
        if self.asked.lora is not None:
            trainee = replace(trainee, network=merged(trainee.network))
        trainee.export(self.asked.out)


def teach(asked: Asked, told: Told) -> Outcome:
    """From the texts to a folder, or from where an earlier run stopped. Raises BadInput."""
    team, origin = join(), asked.origin()
    before = agreed(team, earlier(asked.out, origin) if team.writes else {})
    work = Work.open(asked, told)
    steps = before.get("steps") or work.steps()
    settings = replace(work.settings, steps=steps, warmup=min(100, steps // 10))
    network = work.trainee.network
    origin |= {
        "steps": steps,
        "peak": settings.peak,
        "knobs": asdict(work.recipe),  # type: ignore[call-overload]
        "masked_diffusion": asdict(work.convention),
        "family": network.config.model_type,
    }
    start = before.get("before")
    if team.writes:
        start = start or asdict(work.measured())
        write_recipe(asked.out, {**origin, "before": start})
    began = time.perf_counter()
    run(network, work.recipe.training(work.material()), settings, asked.out / TRAINING)
    seconds = round(time.perf_counter() - began, 1)
    report: dict[str, Any] = {"steps": steps, "seconds": seconds, "before": start, "after": None}
    if team.writes:
        report["after"] = asdict(work.measured())
        work.export()
        write_recipe(asked.out, {**origin, **report})
        text = card(asked.student or "", {**origin, **report}, asked.out)
        write_text(asked.out / "README.md", text)
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run and how long it would take; nothing is taught, nothing is written."""
    work = Work.open(asked, told, dry=True)
    seconds = work.seconds_a_step()
    steps = work.steps(seconds)
    knobs = asdict(work.recipe)  # type: ignore[call-overload]
    report = {
        "recipe": asked.recipe,
        "knobs": knobs,
        "texts": work.lessons.count,
        "beforehand": list(work.lessons.beforehand),
        "steps": steps,
        "peak": work.settings.peak,
        "seconds": {"a step": round(seconds, 3), "training": round(seconds * steps, 1)},
    }
    facts = {
        "knobs": ", ".join(f"{name}={value}" for name, value in knobs.items()),
        "data": "a stream of texts" if work.lessons.count is None else f"{work.lessons.count:,} texts",
        "beforehand": "; ".join(work.lessons.beforehand) or "nothing",
        "steps": f"{steps:,} of {asked.batch} texts, peak learning rate {work.settings.peak:g}",
        "time": f"{seconds:.2f} s a step (measured on {TIMED - 1}), {seconds * steps / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _settings(asked: Asked, trainee: Trainee) -> Settings:
    rate = WIDE / trainee.network.config.get_text_config().hidden_size
    return Settings(
        steps=asked.steps,
        peak=asked.rate or (rate if asked.lora is None else THIN * rate),
        warmup=min(100, asked.steps // 10),
        decay=0.5,
        weight_decay=0.01,
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
    )


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on held-out texts."""
    before, after = report["before"], report["after"]
    learnt = {} if not (before and after) else {
        text: f"{after[name]:.4f}; before {before[name]:.4f}" for name, text in NAMES.items()
    }  # fmt: skip
    return {"steps": f"{report['steps']:,} in {report['seconds']:,} s", **learnt}
