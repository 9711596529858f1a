"""`decant distill dd1`: a student of a teacher of images, which makes an image in one pass or two."""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.teaching import STUDENTS, Asked, Outcome, Told, place, recipe_of
from decant.distill.images.dd1 import DD1
from decant.distill.images.imitating import Run, sketch
from decant.distill.images.imitating import teach as taught
from decant.distill.images.rule import teacher_of
from decant.distill.settings import Settings
from decant.errors import BadInput
from decant.models.images.folder import read_images
from decant.models.images.teacher import CodeTeacher

RATE: Final = 1e-3
SAVED: Final = 10  # checkpoints of a run, and previews


def teach(asked: Asked, told: Told) -> Outcome:
    """Trajectories, then the student. Raises BadInput, or IncompatibleParts for a teacher of texts."""
    recipe, teacher, settings, run = _opened(asked)
    report = taught(recipe, teacher, settings, run, lambda done, total: told(done, total, "trajectories"))
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run, and how long it would take; nothing is trained, nothing is written."""
    recipe, teacher, settings, run = _opened(asked)
    report = sketch(recipe, teacher, settings, run)
    seconds = report["seconds"]
    facts = {
        "student": f"{report['parameters']:,} parameters",
        "trajectories": f"{report['pairs']:,} pairs, {seconds['trajectories'] / 60:.1f} minutes",
        "time": f"{seconds['a step']:.3f} s a step, {seconds['training'] / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _opened(asked: Asked) -> tuple[DD1, CodeTeacher, Settings, Run]:
    asked.refuse("the teacher makes its own data", "limit", "length", "max_tokens")
    if asked.texts:
        raise BadInput(f"--data {asked.texts} is not for dd1: the teacher makes its own data; leave it out")
    asked.refuse("a student of its own is made of the teacher", "student", *STUDENTS)
    asked.refuse("it takes steps", "minutes")
    asked.refuse("the teacher draws as its decant.json says", "temperature")
    if not asked.teacher:
        raise BadInput("dd1 needs --teacher, a model of images: house:digits-ar, or a folder of one")
    recipe: DD1 = recipe_of(asked.recipe)
    teacher = teacher_of(read_images(asked.teacher))
    device = place(asked.device)
    teacher.network.to(device)
    teacher.tokenizer.to(device)  # pyright: ignore[reportAttributeAccessIssue]
    settings = Settings(
        steps=asked.steps,
        peak=asked.rate or RATE,
        warmup=min(100, asked.steps // 10),
        decay=0.5,
        weight_decay=0.05,
        save_every=max(1, asked.steps // SAVED),
        report_every=max(1, min(50, asked.steps // SAVED)),
        quiet=asked.quiet,
    )
    return recipe, teacher, settings, Run(asked.teacher, asked.out, asked.origin(), asked.batch, asked.seed)


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on pairs that were held out."""
    said = {
        f"{calls} of {report['units']} passes": f"{one['codes']:.1%} of the codes, {one['images']:.1%} of the images "
        f"are the teacher's"
        for calls, one in report["passes"].items()
    }
    return {"student": f"{report['parameters']:,} parameters", "pairs": f"{report['pairs']:,}", **said}
