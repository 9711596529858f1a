"""A student of `dd2` from a teacher to a folder: the teacher's own images, training in turns, previews, a card.

The folder (`distill/runs.py`) holds the student as config.json and model.safetensors, and the tokenizer of its images.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Generator, Tensor

from decant.disk import KEPT, replacing, write_text, writing
from decant.distill.checkpoint import write
from decant.distill.images.alternating import Pair, Phase, Schedule, alternate
from decant.distill.images.dd2 import DD2, Scoring, own_images
from decant.distill.images.imitating import ENLARGED, PREVIEWS, SAMPLES, SHOWN, Run
from decant.distill.runs import TRAINING, earlier, write_recipe
from decant.distill.settings import Settings
from decant.images.flow import nearest
from decant.images.picture import grid, png
from decant.models.images.folder import write_tokenizer
from decant.models.images.teacher import CodeTeacher
from decant.models.images.velocity import VelocityNet, VelocitySpec, inherit, save, untrained

IMAGES: Final = "images.pt"  # below training/
SAVED: Final = 20  # checkpoints of a run, and previews
TIMED: Final = 2  # turns that are timed, behind one that is not
MEASURED: Final = 2048  # images

Told = Callable[[int, int], None]


def teach(recipe: DD2, teacher: CodeTeacher, schedule: Schedule, run: Run, quiet: bool = False) -> dict[str, Any]:
    """From nothing, or on from where an earlier run stopped; the report. Raises BadInput where the folder holds another
    run."""
    spent = (earlier(run.out, run.origin).get("learnt") or {}).get("seconds", 0.0)  # of a run that ended already
    said = {**run.origin, "knobs": asdict(recipe), "turns": schedule.turns, "peak": schedule.generator}
    write_recipe(run.out, said)
    home = run.out / TRAINING
    pair = students(recipe, teacher, run)
    labels_N, ids_NL = _kept_images(recipe, teacher, run, home / IMAGES)
    lesson = Scoring(pair, teacher, recipe, labels_N, ids_NL, run.batch)
    began = time.perf_counter()
    settings = Settings(
        steps=schedule.turns,
        save_every=max(1, schedule.turns // SAVED),
        report_every=max(1, min(10, schedule.turns // SAVED)),
        quiet=quiet,
    )

    def saved(turn: int) -> None:
        _preview(pair.mean, teacher, ids_NL, home / PREVIEWS / f"{turn:07d}.png")

    alternate(pair, lesson, schedule, settings, home, saved, run.seed)
    kept: Any = pair.mean
    with writing(run.out, KEPT):
        save(kept, run.out)
        write_tokenizer(teacher.tokenizer, run.out)
    report = {
        "kind": "dd2",
        "teacher": run.teacher,
        "parameters": sum(weight.numel() for weight in kept.parameters()),
        "places": teacher.layout.places,
        "units": teacher.layout.units,
        "turns": schedule.turns,
        "images": len(ids_NL),
        "seconds": round(spent + time.perf_counter() - began, 1),
        **measured(kept, teacher, run.seed),
    }
    write_recipe(run.out, said | {"learnt": report})
    _preview(kept, teacher, ids_NL, run.out / SAMPLES)
    write_text(run.out / "README.md", card(report, run))
    return report


def students(recipe: DD2, teacher: CodeTeacher, run: Run) -> Pair:
    """Three networks that begin with the teacher's body and a fresh head."""
    body, codes_VC = teacher.network.body, teacher.codes_VC
    shape = replace(body.spec, dropout=0.0, flagged=False)
    spec = VelocitySpec(run.teacher, shape, len(codes_VC), recipe.width, recipe.depth)
    nets = [untrained(spec, teacher.tokenizer.carried, codes_VC, run.seed).to(codes_VC.device) for _ in range(3)]
    for net in nets:
        inherit(net, body)
    return Pair(nets[0], nets[1], nets[2].requires_grad_(False))


def sketch(recipe: DD2, teacher: CodeTeacher, schedule: Schedule, run: Run) -> dict[str, Any]:
    """What a run would be: seconds of its phases, measured on a few turns of each kind; nothing is written."""
    pair = students(recipe, teacher, run)
    lesson = Scoring(pair, teacher, recipe, *own_images(teacher, run.batch, run.seed), run.batch)
    total = 0.0
    for phase in schedule.phases:
        times = [_timed(lesson, phase, turn) for turn in range(TIMED + 1)]
        total += sum(times[1:]) / TIMED * phase.turns
    return {
        "parameters": sum(weight.numel() for weight in pair.mean.parameters()),
        "phases": [asdict(phase) for phase in schedule.phases],
        "turns": schedule.turns,
        "seconds": {"training": round(total, 3)},
    }


def _timed(lesson: Scoring, phase: Phase, turn: int) -> float:
    """Seconds of a turn without its optimisers."""
    began, drawing = time.perf_counter(), Generator().manual_seed(turn)
    for _ in range(phase.guidance):
        lesson.guidance(phase, drawing).backward()
    if phase.generator:
        lesson.generator(drawing).backward()
    return time.perf_counter() - began


@torch.no_grad()
def measured(net: VelocityNet, teacher: CodeTeacher, seed: int) -> dict[str, float]:
    """Of one pass. pairs: total variation of pairs of neighbouring codes, of the student's images and the teacher's,
    and floor: of two sets of the teacher's; both sets are finite, so that is not 0. off: mean distance of a vector from
    its nearest code, in units of the codes' root mean square."""
    codes_VC = teacher.codes_VC
    drawing = Generator().manual_seed(seed)
    labels_N, true_NL = own_images(teacher, 2 * MEASURED, seed + 1)
    eps_NLC = torch.randn(MEASURED, teacher.layout.places, codes_VC.shape[1], generator=drawing)
    vectors_NLC = net.draw(labels_N[:MEASURED], eps_NLC.to(codes_VC.device))
    ids_NL = nearest(vectors_NLC, codes_VC)
    off = (vectors_NLC - codes_VC[ids_NL]).norm(dim=-1).mean() / codes_VC.square().sum(-1).mean().sqrt()
    first_NL, second_NL = true_NL[:MEASURED], true_NL[MEASURED:]
    return {
        "pairs": round(_pairs_apart(ids_NL, second_NL, len(codes_VC)), 4),
        "floor": round(_pairs_apart(first_NL, second_NL, len(codes_VC)), 4),
        "off": round(float(off), 4),
    }


def _pairs_apart(one_NL: Tensor, two_NL: Tensor, codes: int) -> float:
    """Total variation of laws of (code, next code), all places together."""
    laws = [
        torch.bincount((ids_NL[:, :-1] * codes + ids_NL[:, 1:]).flatten(), minlength=codes**2).double()
        for ids_NL in (one_NL, two_NL)
    ]
    return float((laws[0] / laws[0].sum() - laws[1] / laws[1].sum()).abs().sum() / 2)


def _kept_images(recipe: DD2, teacher: CodeTeacher, run: Run, path: Path) -> tuple[Tensor, Tensor]:
    """labels_N and ids_NL: those of an earlier run, or new ones."""
    if path.exists():
        found = torch.load(path, map_location=teacher.codes_VC.device, weights_only=True)
        return found["labels"], found["ids"]
    labels_N, ids_NL = own_images(teacher, recipe.images, run.seed)
    write({"labels": labels_N, "ids": ids_NL}, path)
    return labels_N, ids_NL


@torch.no_grad()
def _preview(net: Any, teacher: CodeTeacher, ids_NL: Tensor, path: Path) -> None:
    """Rows of the teacher's images, of the student's, and of the student's snapped to codes; always the same noise."""
    few, codes_VC = min(SHOWN, len(ids_NL)), teacher.codes_VC
    eps_NLC = torch.randn(few, teacher.layout.places, codes_VC.shape[1], generator=Generator().manual_seed(0))
    labels_N = torch.arange(few, device=codes_VC.device) % teacher.classes
    vectors_NLC = net.draw(labels_N, eps_NLC.to(codes_VC.device))
    rows = [codes_VC[ids_NL[:few]], vectors_NLC, codes_VC[nearest(vectors_NLC, codes_VC)]]
    images_BYX = teacher.tokenizer.decode(torch.cat(rows))
    with replacing(path) as part:
        part.write_bytes(png(grid(images_BYX, few, max(1, ENLARGED // images_BYX.shape[-1]))))


def card(report: Mapping[str, Any], run: Run) -> str:
    """README.md."""
    words = {"command": run.origin.get("command", ""), "batch": run.batch, "folder": run.out}
    return CARD.format_map({**report, **words})


CARD: Final = """\
---
library_name: decant
tags: [image-generation, distilled-decoding, decant]
---
# A student of {teacher} that makes an image in one pass

{parameters:,} parameters; the teacher needs {units} passes for the {places} codes of an image. It was taught to make,
place by place, what the teacher finds likely (Distilled Decoding 2, arXiv:2510.21003).

    {command}

| | |
|---|---|
| begun with | the teacher's body, and {images:,} images of the teacher's own making |
| turns | {turns:,} of {batch} images, in {seconds:,} seconds |

![the teacher, the student, the student snapped to codes]({samples})

## Measured on one pass

| | |
|---|---|
| pairs of neighbouring codes, total variation from the teacher's | {pairs:.3f}; its own sets: {floor:.3f} |
| mean distance of a vector from its nearest code, in codes' sizes | {off:.3f} |

## Use it

    decant generate {teacher} --label 7 --n 64 --method dd2-1 --draft {folder} --out grid.png

The licence is the teacher's.
""".replace("{samples}", SAMPLES)
