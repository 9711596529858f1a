"""A model that can be left early, from its teacher to a folder: trained on, measured before and after, with a card.

The folder (`distill/runs.py`) holds a whole model in Hugging Face format. It is another model than its teacher: heads
and drafts that were taught beside the teacher are not named in it.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from decant.disk import KEPT, write_text, writing
from decant.distill.early_exit import spoken
from decant.distill.runs import TRAINING, Course, earlier, settled, write_recipe
from decant.distill.trainer import Batch, Loss, train
from decant.models.build import Llama, mixed_precision, save_folder


class ExitRecipe(Protocol):
    """A loss for exits; its fields are the knobs."""

    def loss(self, model: Llama) -> Loss:
        """Weighted nats, summed."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Spoken:
    """Of every layer, on held-out rows. nats: a token of the texts. agreement: how often its likeliest id is the last
    layer's."""

    nats: tuple[float, ...]
    agreement: tuple[float, ...]


@final
@dataclass(frozen=True, slots=True)
class Beginning:
    """What is trained on, in float32: `teacher` as the user named it. dtype: that its config.json asks for."""

    teacher: str
    network: Any
    tokenizer: Any
    dtype: str


def rate(width: int) -> float:
    """The peak of the learning rate: 5e-5 at a width of 4,096; more for narrower models."""
    return 5e-5 * 4096 / width


def teach(recipe: ExitRecipe, beginning: Beginning, course: Course, out: Path) -> dict[str, Any]:
    """Train, or go on where an earlier run of the same recipe stopped; the report.

    Raises BadInput where the folder holds another run.
    """
    begun, model = earlier(out, course.origin), beginning.network
    asked = recipe.loss(model)

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        with mixed_precision(model.device):
            return asked(ids_BT.to(model.device), weights_BT.to(model.device))

    before = _measured(model, course)
    model.requires_grad_(True).train()
    settings = settled(course, begun, model, loss)
    said = {**course.origin, "steps": settings.steps, "knobs": asdict(recipe)}  # type: ignore[call-overload]
    write_recipe(out, said)
    began = time.perf_counter()
    train(model, loss, course.batches, settings, out / TRAINING)
    seconds = round(time.perf_counter() - began, 1)
    with writing(out, KEPT):
        save_folder(model, out, asked=beginning.dtype)
        if beginning.tokenizer is not None:
            beginning.tokenizer.save_pretrained(out)
    after = _measured(model, course)
    report = _report(beginning, before, after) | {"steps": settings.steps, "seconds": seconds}
    write_recipe(out, said | {"learnt": report})
    write_text(out / "README.md", card(report, course.origin, out))
    return report


@torch.no_grad()
def measure(model: Llama, rows: Iterable[Batch]) -> Spoken:
    """What every exit says of held-out rows."""
    training = model.training
    model.eval()
    layers = len(model.model.layers)
    exits = [layers, *range(1, layers)]  # the last first: the others are held against it
    nats, same, weight, count = torch.zeros(layers).double(), torch.zeros(layers).double(), 0.0, 0
    for ids_BT, weights_BT in rows:
        ids_BT, weights_BT = ids_BT.to(model.device), weights_BT.to(model.device)
        wanted_BT = weights_BT[:, 1:] > 0
        aims_N, weight_N = ids_BT[:, 1:][wanted_BT], weights_BT[:, 1:][wanted_BT]
        last_N = aims_N
        with mixed_precision(model.device):
            for exit, logits_NV in zip(exits, spoken(model, ids_BT, wanted_BT, exits), strict=True):
                last_N = logits_NV.argmax(-1) if exit == layers else last_N
                nats_N = cross_entropy(logits_NV, aims_N, reduction="none")
                nats[exit - 1] += (nats_N * weight_N).sum().item()  # sync: a measurement
                same[exit - 1] += (logits_NV.argmax(-1) == last_N).sum().item()
        weight += float(weight_N.sum())
        count += len(aims_N)
    model.train(training)
    return Spoken(tuple((nats / weight).tolist()), tuple((same / count).tolist()))


def card(report: Mapping[str, Any], origin: Mapping[str, Any], out: Path) -> str:
    """README.md."""
    columns = (report["agreement_before"], report["agreement"], report["nats_before"], report["nats"])
    rows = "\n".join(
        f"| {exit} | {100 * said_before:.1f} % | {100 * said:.1f} % | {nats_before:.3f} | {nats:.3f} |"
        for exit, (said_before, said, nats_before, nats) in enumerate(zip(*columns, strict=True), 1)
    )
    words = {"rows": rows, "command": origin.get("command", ""), "text": origin.get("data", ""), "folder": out}
    return CARD.format(**report, **words)


CARD: Final = """\
---
library_name: transformers
pipeline_tag: text-generation
---
# {teacher}, taught to be left early

{parameters:,} parameters. Its lower layers speak through its own norm and output matrix, so that they can draft for it.
It is another model than {teacher}, with texts of its own; heads that were taught beside that one do not fit it.

    {command}

| | |
|---|---|
| taught on | {text} |
| steps | {steps:,} |

## Load it

    decant generate {folder} "..." --method del

`early-exit` and `sorted-exits` leave at fixed layers. transformers reads the folder as any model.

## Measured on held-out rows

How often a layer's likeliest id is the last layer's, and nats a token of the texts, before and after.

| layer | agrees, before | agrees | nats, before | nats |
|---|---|---|---|---|
{rows}

The licence is the original's.
"""


def _measured(model: Llama, course: Course) -> Spoken:
    return measure(model, map(course.held_out, range(course.measured)))


def _report(beginning: Beginning, before: Spoken, after: Spoken) -> dict[str, Any]:
    network: nn.Module = beginning.network
    return {
        "kind": "exits",
        "teacher": beginning.teacher,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "agreement": [round(share, 4) for share in after.agreement],
        "agreement_before": [round(share, 4) for share in before.agreement],
        "nats": [round(one, 4) for one in after.nats],
        "nats_before": [round(one, 4) for one in before.nats],
    }
