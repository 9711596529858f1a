"""`decant distill dd2`: a student of a teacher of images, which makes an image in one pass."""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.pupils import opened
from decant.apps.teaching import Asked, Outcome, Told
from decant.distill.images.scoring import sketch
from decant.distill.images.scoring import teach as taught

RATE: Final = 5e-4


def teach(asked: Asked, told: Told) -> Outcome:
    """The teacher's images, then both networks in turns. Raises BadInput, or IncompatibleParts for a teacher of
    texts."""
    asked.refuse("two networks learn in turns, each with metrics of its own", "tensorboard")
    recipe, teacher, run = opened(asked)
    report = taught(recipe, teacher, recipe.schedule(asked.steps, asked.rate or RATE), run, asked.quiet)
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run, and how long it would take; nothing is trained, nothing is written."""
    recipe, teacher, run = opened(asked)
    report = sketch(recipe, teacher, recipe.schedule(asked.steps, asked.rate or RATE), run)
    phases = {
        f"phase {at}, {phase['name']}": f"{phase['turns']:,} turns" for at, phase in enumerate(report["phases"], 1)
    }
    facts = {
        "student": f"{report['parameters']:,} parameters, and as many of its guidance network",
        **phases,
        "time": f"{report['seconds']['training'] / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on images of one pass."""
    return {
        "student": f"{report['parameters']:,} parameters, one pass for the teacher's {report['units']}",
        "turns": f"{report['turns']:,} in {report['seconds']:,} s",
        "pairs of codes": f"{report['pairs']:.3f} apart from the teacher's, whose own sets are {report['floor']:.3f}",
        "vectors": f"{report['off']:.3f} of a code's size away from the nearest code",
    }
