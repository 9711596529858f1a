"""A head from nothing to a folder: its ids chosen, taught on the one trainer, measured, written with a card.

The folder (`distill/runs.py`) holds the head as config.json and model.safetensors.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from decant.disk import KEPT, write_text, writing
from decant.distill.heads.lesson import HeadRecipe
from decant.distill.heads.measure import Learnt, measure
from decant.distill.runs import TRAINING, Course, earlier, settled, write_recipe
from decant.distill.trainer import train
from decant.models.heads.folder import save, untrained
from decant.models.teacher import Teacher, frequent

COUNTED: Final = 100  # batches that the draft vocabulary is counted on


def teach(recipe: HeadRecipe, teacher: Teacher, course: Course, out: Path) -> dict[str, Any]:
    """Train, or go on where an earlier run of the same recipe stopped; the report.

    Raises BadInput where the folder holds another run.
    """
    begun = earlier(out, course.origin)
    spec = recipe.spec(teacher)
    ids_V: Tensor | None = None
    if spec.draft_vocab:
        ids_V = frequent(course.batches, COUNTED, spec.vocab, spec.draft_vocab).to(teacher.device)
    net = untrained(spec, ids_V, course.seed)
    net.to(teacher.device).bind(teacher.ends(ids_V))
    if hasattr(net, "begin"):
        net.begin()
    loss = recipe.loss(net, teacher)
    settings = settled(course, begun, net, loss)
    said = {**course.origin, "steps": settings.steps, "knobs": asdict(recipe)}  # type: ignore[call-overload]
    write_recipe(out, said)
    began = time.perf_counter()
    train(net, loss, course.batches, settings, out / TRAINING)
    seconds = time.perf_counter() - began
    with writing(out, KEPT):
        save(net, out)
    learnt = measure(recipe, net, teacher, map(course.held_out, range(course.measured)))
    report = _report(recipe, net, teacher, learnt) | {"steps": settings.steps, "seconds": round(seconds, 1)}
    write_recipe(out, said | {"learnt": report})
    write_text(out / "README.md", card(report, course.origin))
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
