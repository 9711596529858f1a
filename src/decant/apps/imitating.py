"""`decant distill dd1`: a student of a teacher of images, which makes an image in one pass or two."""

from collections.abc import Mapping
from typing import Any, Final

from decant.apps.pupils import opened
from decant.apps.teaching import Asked, Outcome, Told
from decant.distill.images.imitating import sketch
from decant.distill.images.imitating import teach as taught
from decant.distill.settings import Settings

RATE: Final = 1e-3
SAVED: Final = 10  # checkpoints of a run, and previews


def teach(asked: Asked, told: Told) -> Outcome:
    """Trajectories, then the student. Raises BadInput, or IncompatibleParts for a teacher of texts."""
    recipe, teacher, run = opened(asked)
    report = taught(recipe, teacher, _settings(asked), run, lambda done, total: told(done, total, "trajectories"))
    return Outcome(report, _facts(report))


def plan(asked: Asked, told: Told) -> Outcome:
    """What would run, and how long it would take; nothing is trained, nothing is written."""
    recipe, teacher, run = opened(asked)
    report = sketch(recipe, teacher, _settings(asked), run)
    seconds = report["seconds"]
    facts = {
        "student": f"{report['parameters']:,} parameters",
        "trajectories": f"{report['pairs']:,} pairs, {seconds['trajectories'] / 60:.1f} minutes",
        "time": f"{seconds['a step']:.3f} s a step, {seconds['training'] / 60:.1f} minutes of training",
    }
    return Outcome(report, facts)


def _settings(asked: Asked) -> Settings:
    return Settings(
        steps=asked.steps,
        peak=asked.rate or RATE,
        warmup=min(100, asked.steps // 10),
        decay=0.5,
        weight_decay=0.05,
        save_every=max(1, asked.steps // SAVED),
        report_every=max(1, min(50, asked.steps // SAVED)),
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
    )


def _facts(report: Mapping[str, Any]) -> dict[str, str]:
    """What was learnt, on pairs that were held out."""
    said = {
        f"{calls} of {report['units']} passes": f"{one['codes']:.1%} of the codes, {one['images']:.1%} of the images "
        f"are the teacher's"
        for calls, one in report["passes"].items()
    }
    return {"student": f"{report['parameters']:,} parameters", "pairs": f"{report['pairs']:,}", **said}
