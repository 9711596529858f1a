"""A head from nothing to a folder: its ids chosen, taught on the one trainer, measured, written with a card.

The folder holds the head (config.json, model.safetensors), README.md, recipe.json and, under `training/`, what a run
needs to go on: checkpoint and metrics.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

from torch import Tensor

from decant.distill.heads.lesson import HeadRecipe
from decant.distill.heads.measure import Learnt, measure
from decant.distill.trainer import Batches, Settings, train
from decant.errors import BadInput
from decant.models.heads.folder import save, untrained
from decant.models.teacher import Teacher, frequent

TRAINING: Final = "training"
RECIPE: Final = "recipe.json"
COUNTED: Final = 100  # batches that the draft vocabulary is counted on
TIMED: Final = 4  # steps that are timed where minutes were asked for; the first does not count


@final
@dataclass(frozen=True, slots=True)
class Course:
    """What a head is taught with.

    batches, held_out: step -> batch. measured: held-out batches. origin: what recipe.json says besides: the command,
    versions, data; `asked` in it must be the same when a run goes on.
    """

    batches: Batches
    held_out: Batches
    settings: Settings
    measured: int
    seed: int
    minutes: float | None
    origin: Mapping[str, Any]


def teach(recipe: HeadRecipe, teacher: Teacher, course: Course, out: Path) -> dict[str, Any]:
    """Train, or go on where an earlier run of the same recipe stopped; the report.

    Raises BadInput where the folder holds another run.
    """
    begun = _begun(out, course)
    spec = recipe.spec(teacher)
    ids_V: Tensor | None = None
    if spec.draft_vocab:
        ids_V = frequent(course.batches, COUNTED, spec.vocab, spec.draft_vocab).to(teacher.device)
    net = untrained(spec, ids_V, course.seed)
    net.to(teacher.device).bind(teacher.ends(ids_V))
    if hasattr(net, "begin"):
        net.begin()
    loss = recipe.loss(net, teacher)
    steps = begun.get("steps") or _steps(course, net, loss)
    settings = replace(course.settings, steps=steps, warmup=min(course.settings.warmup, steps // 10))
    folder = out / TRAINING
    _write(out / RECIPE, {**course.origin, "steps": settings.steps, "knobs": asdict(recipe)})  # type: ignore[call-overload]
    began = time.perf_counter()
    train(net, loss, course.batches, settings, folder)
    seconds = time.perf_counter() - began
    save(net, out)
    learnt = measure(recipe, net, teacher, map(course.held_out, range(course.measured)))
    report = _report(recipe, net, teacher, learnt) | {"steps": settings.steps, "seconds": round(seconds, 1)}
    _write(out / RECIPE, {**course.origin, "steps": settings.steps, "knobs": asdict(recipe), "learnt": report})  # type: ignore[call-overload]
    (out / "README.md").write_text(card(report, course.origin), encoding="utf-8")
    return report


def card(report: Mapping[str, Any], origin: Mapping[str, Any]) -> str:
    """README.md."""
    rows = "\n".join(
        f"| {depth} | {100 * one:.1f} % | {100 * chain:.1f} % |"
        for depth, (one, chain) in enumerate(zip(report["accuracy"], report["in_row"], strict=True), 1)
    )
    return CARD.format(**report, rows=rows, command=origin.get("command", ""), text=origin.get("data", ""))


CARD: Final = """\
---
library_name: decant
---
# A {kind} head for {teacher}

{parameters:,} parameters in bfloat16; a guess reads {read_bytes:,} bytes of weights in that type. It guesses what the
teacher says next; what is kept is always the teacher's own.

    {command}

| | |
|---|---|
| taught on | {text} |
| steps | {steps:,} |
| ids that it can guess | {draft_vocab:,} |

## Measured on held-out rows

Greedy, the text's own ids in front of every guess: how often the likeliest guess is the teacher's likeliest id, alone
and with every guess before it right. Behind the first, a head that feeds on itself has only its own states.

| depth | alone | in a row |
|---|---|---|
{rows}

A greedy chain of that depth would give {acceptance_length:.2f} tokens a step on such texts, the teacher's own included.
"""


def _report(recipe: HeadRecipe, net: Any, teacher: Teacher, learnt: Learnt) -> dict[str, Any]:
    counted = {name: weight.numel() for name, weight in net.named_parameters()}
    spec = net.spec
    parameters = sum(counted.values())
    own = any("lm_head" in name for name in counted) or not spec.knobs.get("shared", True)
    once = sum(counted[name] for name in getattr(net, "once", ()))
    read = parameters - once - sum(counted[name] for name in getattr(net, "rows", ()))
    borrowed = 0 if own else (spec.draft_vocab or spec.vocab) * spec.hidden
    return {
        "kind": recipe.kind,
        "teacher": teacher.name,
        "parameters": parameters,
        "read_bytes": 2 * (read + borrowed),
        "once_bytes": 2 * once,
        "draft_vocab": spec.draft_vocab or spec.vocab,
        "accuracy": [round(share, 4) for share in learnt.accuracy],
        "in_row": [round(share, 4) for share in learnt.in_row],
        "columns": list(learnt.columns),
        "acceptance_length": round(learnt.acceptance_length, 3),
    }


def _begun(out: Path, course: Course) -> dict[str, Any]:
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
    before, now = begun.get("asked") or {}, dict(course.origin.get("asked") or {})
    other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    if other:
        changes = ", ".join(f"{name} {before.get(name)!r}, not {now.get(name)!r}" for name in other)
        raise BadInput(f"--out {out} holds a run with {changes}; ask for the same, or give a new folder")
    return begun


def _steps(course: Course, net: Any, loss: Any) -> int:
    """Those asked for, or as many as fit the minutes."""
    if course.minutes is None:
        return course.settings.steps
    began = 0.0
    for step in range(TIMED):
        began = began if step > 1 else time.perf_counter()
        for part in range(course.settings.accumulate):
            loss(*course.batches(step + part)).backward()
    net.zero_grad(set_to_none=True)
    return max(1, int(course.minutes * 60 / ((time.perf_counter() - began) / (TIMED - 1))))


def _write(file: Path, fields: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
