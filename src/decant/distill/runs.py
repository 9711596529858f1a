"""A run of `decant distill`: what it is taught with, and the folder that it writes and goes on from.

The folder holds what was made, README.md, recipe.json and, under `training/`, what a run needs to go on: checkpoint and
metrics, and the teacher's answers where there are any.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from torch import nn

from decant.disk import write_text
from decant.distill.trainer import Batches, Loss, Settings
from decant.errors import BadInput

TRAINING: Final = "training"
RECIPE: Final = "recipe.json"
TIMED: Final = 4  # steps that are timed where minutes were asked for; the first does not count


@final
@dataclass(frozen=True, slots=True)
class Course:
    """What is taught with.

    batches, held_out: step -> batch. measured: held-out batches. origin: what recipe.json says besides: the command,
    versions, data; `asked` in it must be the same when a run goes on, and `digest`, of the data's file.
    """

    batches: Batches
    held_out: Batches
    settings: Settings
    measured: int
    seed: int
    minutes: float | None
    origin: Mapping[str, Any]


def earlier(out: Path, origin: Mapping[str, Any]) -> dict[str, Any]:
    """What an earlier run wrote down, if it is the same run. Raises BadInput for another."""
    file = out / RECIPE
    if not file.exists():
        if out.is_dir() and any(path.name != TRAINING for path in out.iterdir()):
            raise BadInput(f"--out {out} is not empty, and holds no earlier run; give a new folder")
        return {}
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInput(f"{file} cannot be read: {error}; give a new folder") from error
    before, now = begun.get("asked") or {}, dict(origin.get("asked") or {})
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        changes = ", ".join(f"{name} {before.get(name)!r}, not {now.get(name)!r}" for name in other)
        raise BadInput(f"--out {out} holds a run with {changes}; ask for the same, or give a new folder")
    same_digest(f"--out {out}", begun, origin.get("digest"), "give a new folder")
    return begun


def same_digest(where: str, begun: Mapping[str, Any], now: str | None, otherwise: str) -> None:
    """Raises BadInput where a run learnt from a file with other bytes; runs that are older do not say."""
    before = begun.get("digest")
    if before and before != now:
        raise BadInput(
            f"{where} is of a run on {begun.get('data')} as it was (sha256 {before}...), and that file "
            f"{f'now has {now}...' if now else 'is gone'}; put it back, or {otherwise}"
        )


def settled(course: Course, begun: Mapping[str, Any], model: nn.Module, loss: Loss) -> Settings:
    """With the steps of the earlier run, or those asked for, or as many as fit the minutes; the weights stay."""
    steps = begun.get("steps") or _steps(course, model, loss)
    return replace(course.settings, steps=steps, warmup=min(course.settings.warmup, steps // 10))


def write_recipe(out: Path, fields: Mapping[str, Any]) -> None:
    """recipe.json. Raises BadInput where it cannot be written."""
    write_text(out / RECIPE, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def _steps(course: Course, model: nn.Module, loss: Loss) -> int:
    if course.minutes is None:
        return course.settings.steps
    began = 0.0
    for step in range(TIMED):
        began = began if step > 1 else time.perf_counter()
        for part in range(course.settings.accumulate):
            loss(*course.batches(step + part)).backward()
    model.zero_grad(set_to_none=True)
    return max(1, int(course.minutes * 60 / ((time.perf_counter() - began) / (TIMED - 1))))
