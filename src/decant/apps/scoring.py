"""`decant distill dd2`: a student of a teacher of images, which makes an image in one pass."""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.teaching import STUDENTS, Asked, Outcome, Told, place, recipe_of
from decant.distill.images.alternating import Schedule
from decant.distill.images.dd2 import DD2
from decant.distill.images.imitating import Run
from decant.distill.images.rule import teacher_of
from decant.distill.images.scoring import sketch
from decant.distill.images.scoring import teach as taught
from decant.errors import BadInput
from decant.models.images.folder import read_images
from decant.models.images.teacher import CodeTeacher

RATE: Final = 5e-4


def teach(asked: Asked, told: Told) -> Outcome:
    """The teacher's images, then both networks in turns. Raises BadInput, or IncompatibleParts for a teacher of
    texts."""
    recipe, teacher, schedule, run = _opened(asked)
    report = taught(recipe, teacher, schedule, run, asked.quiet)
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run, and how long it would take; nothing is trained, nothing is written."""
    recipe, teacher, schedule, run = _opened(asked)
    report = sketch(recipe, teacher, schedule, run)
    phases = {
        f"phase {at}, {phase['name']}": f"{phase['turns']:,} turns" for at, phase in enumerate(report["phases"], 1)
    }
    facts = {
        "student": f"{report['parameters']:,} parameters, and as many of its guidance network",
        **phases,
        "time": f"{report['seconds']['training'] / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _opened(asked: Asked) -> tuple[DD2, CodeTeacher, Schedule, Run]:
    asked.refuse("the teacher makes its own data", "limit", "length", "max_tokens")
    if asked.texts:
        raise BadInput(f"--data {asked.texts} is not for dd2: the teacher makes its own data; leave it out")
    asked.refuse("a student of its own is made of the teacher", "student", *STUDENTS)
    asked.refuse("it takes steps", "minutes")
    asked.refuse("the teacher draws as its decant.json says", "temperature")
    if not asked.teacher:
        raise BadInput("dd2 needs --teacher, a model of images: house:digits-ar, or a folder of one")
    recipe: DD2 = recipe_of(asked.recipe)
    teacher = teacher_of(read_images(asked.teacher))
    device = place(asked.device)
    teacher.network.to(device)
    teacher.tokenizer.to(device)  # pyright: ignore[reportAttributeAccessIssue]
    schedule = recipe.schedule(asked.steps, asked.rate or RATE)
    return recipe, teacher, schedule, Run(asked.teacher, asked.out, asked.origin(), asked.batch, asked.seed)


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on images of one pass."""
    return {
        "student": f"{report['parameters']:,} parameters, one pass for the teacher's {report['units']}",
        "turns": f"{report['turns']:,} in {report['seconds']:,} s",
        "pairs of codes": f"{report['pairs']:.3f} apart from the teacher's, whose own sets are {report['floor']:.3f}",
        "vectors": f"{report['off']:.3f} of a code's size away from the nearest code",
    }
