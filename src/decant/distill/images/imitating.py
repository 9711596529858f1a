"""A student of `dd1` from a teacher to a folder: trajectories, training, previews, measures, a card.

The folder (`distill/runs.py`) holds the student as config.json and model.safetensors, and the tokenizer of its images.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.disk import KEPT, replacing, write_text, writing
from decant.distill.checkpoint import read as checkpoint
from decant.distill.images.dd1 import DD1, Jumping, averaged, measured
from decant.distill.images.trajectories import Order, Trajectories, made, write
from decant.distill.runs import TRAINING, earlier, write_recipe
from decant.distill.settings import Settings
from decant.distill.trainer import run as train
from decant.images.jumping import jumped
from decant.images.picture import grid, png
from decant.models.images.folder import write_tokenizer
from decant.models.images.jump import JumpNet, JumpSpec, inherit, save, untrained
from decant.models.images.teacher import CodeTeacher

PAIRS: Final = "trajectories"  # below training/
PREVIEWS: Final = "previews"  # there too
SAMPLES: Final = "samples.png"
HELD_OUT: Final = 16  # one pair in so many is for measuring,
MEASURED: Final = 2048  # and no more than these
SHOWN: Final = 20  # columns of a preview
ENLARGED: Final = 32  # pixels of a side that images of a preview have at least
TIMED: Final = 3  # steps that are timed, behind one that is not

Told = Callable[[int, int], None]


@final
@dataclass(frozen=True, slots=True)
class Run:
    """teacher: as the user named it. origin: what recipe.json says besides."""

    teacher: str
    out: Path
    origin: Mapping[str, Any]
    batch: int
    seed: int = 0


def teach(recipe: DD1, teacher: CodeTeacher, settings: Settings, run: Run, told: Told) -> dict[str, Any]:
    """Trajectories, then the student, or on from where an earlier run stopped; the report.

    Raises BadInput where the folder holds another run, or trajectories of another teacher.
    """
    spent = (earlier(run.out, run.origin).get("learnt") or {}).get("seconds", 0.0)  # of a run that ended already
    said = {**run.origin, "knobs": asdict(recipe), "steps": settings.steps, "peak": settings.peak}
    write_recipe(run.out, said)
    order = Order(run.teacher, recipe.pairs, run.seed, recipe.flow)
    pairs = write(teacher, order, run.out / TRAINING / PAIRS, told)
    held = min(MEASURED, max(1, len(pairs) // HELD_OUT))
    number_N = torch.arange(len(pairs), device=pairs.labels_N.device)
    learnt, apart = pairs.select(number_N[held:]), pairs.select(number_N[:held])
    net = student(recipe, teacher, run)
    training = lesson(recipe, net, learnt, teacher, run)
    began = time.perf_counter()

    def saved(step: int) -> None:
        mean = (checkpoint(run.out / TRAINING) or {})["memory"]
        _preview(averaged(net, mean), teacher, apart, run.out / TRAINING / PREVIEWS / f"{step:07d}.png")

    train(net, training, settings, run.out / TRAINING, saved)
    seconds = round(spent + time.perf_counter() - began, 1)
    kept = averaged(net, (checkpoint(run.out / TRAINING) or {})["memory"])
    with writing(run.out, KEPT):
        save(kept, run.out)
        write_tokenizer(teacher.tokenizer, run.out)
    report = {
        "kind": "dd1",
        "teacher": run.teacher,
        "parameters": sum(weight.numel() for weight in kept.parameters()),
        "pairs": len(learnt),
        "places": kept.layout.places,
        "units": kept.layout.units,
        "states": list(kept.steps),
        "split": kept.split,
        "says": "codes" if recipe.head == "direct" else "laws, under which the noise of each place flows",
        "seconds": seconds,
        "passes": measured(kept, apart, teacher.tokenizer.decode),
    }
    write_recipe(run.out, said | {"learnt": report})
    _preview(kept, teacher, apart, run.out / SAMPLES)
    write_text(run.out / "README.md", card(report, run, settings))
    return report


def student(recipe: DD1, teacher: CodeTeacher, run: Run) -> JumpNet:
    """It begins with the teacher's weights. Raises BadInput for knobs that do not fit the teacher."""
    body, codes_VC = teacher.network.body, teacher.codes_VC
    steps = recipe.steps(body.layout)
    split = body.layout.units if recipe.split is None else recipe.split
    shape = replace(body.spec, layers=recipe.layers or body.spec.layers, dropout=0.0, flagged=True)
    spec = JumpSpec(run.teacher, shape, len(codes_VC), steps, split)
    if recipe.head == "flow":
        spec = replace(spec, flow=recipe.flow, sharpness=recipe.sharpness)
    net = untrained(spec, codes_VC, run.seed, teacher.tokenizer.carried).to(codes_VC.device)
    inherit(net, body, teacher.network.head.weight)
    return net


def lesson(recipe: DD1, net: JumpNet, pairs: Trajectories, teacher: CodeTeacher, run: Run) -> Jumping:
    """What the trainer asks."""
    flows = teacher if recipe.head == "flow" else None
    return Jumping(net, recipe, pairs, run.batch, run.seed, teacher.tokenizer.decode, flows)


def sketch(recipe: DD1, teacher: CodeTeacher, settings: Settings, run: Run) -> dict[str, Any]:
    """What a run would be: seconds of its trajectories and of its steps, measured on a few; nothing is written."""
    few = min(512, recipe.pairs)
    labels_N = torch.arange(few, device=teacher.codes_VC.device)
    began = time.perf_counter()
    pairs = made(teacher, labels_N % teacher.classes, labels_N, recipe.flow)
    making = (time.perf_counter() - began) / few
    net = student(recipe, teacher, run)
    training = lesson(recipe, net, pairs, teacher, run)
    for step in range(TIMED + 1):
        began = began if step > 1 else time.perf_counter()
        piece = training.piece(torch.arange(run.batch) % few, torch.zeros(run.batch, dtype=torch.int64))
        training.nats({}, step, piece).backward()
    each = (time.perf_counter() - began) / TIMED
    return {
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "pairs": recipe.pairs,
        "states": list(net.steps),
        "split": net.split,
        "steps": settings.steps,
        "seconds": {
            "trajectories": round(making * recipe.pairs, 1),
            "a step": round(each, 3),
            "training": round(each * settings.steps, 1),
        },
    }


@torch.no_grad()
def _preview(student: JumpNet, teacher: CodeTeacher, pairs: Trajectories, path: Path) -> None:
    """A row of the teacher's images, then a row of the student's from the same noise for every number of passes."""
    few = pairs.select(torch.arange(min(SHOWN, len(pairs)), device=pairs.labels_N.device))
    rows: list[Tensor] = [teacher.codes_VC[few.ids_NL.long()]]
    rows += [jumped(student, few.labels_N, few.eps(), calls)[0] for calls in range(1, len(student.steps) + 1)]
    images_BYX = teacher.tokenizer.decode(torch.cat(rows))
    zoom = max(1, ENLARGED // images_BYX.shape[-1])
    with replacing(path) as part:
        part.write_bytes(png(grid(images_BYX, len(few), zoom)))


def card(report: Mapping[str, Any], run: Run, settings: Settings) -> str:
    """README.md."""
    rows = "\n".join(
        f"| {calls} | {100 * said['codes']:.1f} % | {100 * said['images']:.1f} % | {said['pixels']:.4f} |"
        for calls, said in report["passes"].items()
    )
    words = {"rows": rows, "command": run.origin.get("command", ""), "steps": settings.steps, "batch": run.batch}
    return CARD.format_map({**report, **words, "states": " and ".join(map(str, report["states"])), "folder": run.out})


CARD: Final = """\
---
library_name: decant
tags: [image-generation, distilled-decoding, decant]
---
# A student of {teacher} that makes an image in one pass or two

{parameters:,} parameters; the teacher needs {units} passes for the {places} codes of an image. It maps noise to the
image that the teacher makes of the same noise (Distilled Decoding 1, arXiv:2412.17153).

    {command}

| | |
|---|---|
| taught on | {pairs:,} pairs of noise and image, all of the teacher's own making |
| steps | {steps:,} of {batch} pairs |
| states | with {states} settled units |
| says | {says} |
| codes read off the logits | the first {split} of {units} units |

![the teacher, then one pass, then two, from the same noise]({samples})

## Measured on pairs that were held out

| passes | codes that are the teacher's | whole images | squared distance of pixels |
|---|---|---|---|
{rows}

An image that is not the teacher's may be as good a draw: `decant bench {teacher} --suite images` tells.

## Use it

    decant generate {teacher} --label 7 --n 64 --method dd1-1 --draft {folder} --out grid.png

The licence is the teacher's.
""".replace("{samples}", SAMPLES)
