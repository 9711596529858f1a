"""What a pass would cost on a machine that nobody has: the roofline of a transformer's parts, and what they leave out.

Of each part (the products of the layers, attention over the cache, the output matrix) the time is that of reading or
that of computing, whichever is longer; a pass reads its weights once, whatever it holds. Kernels cost a little each.
Left out: activations, the embedding's rows, writing logits, tiles that are not filled.
Source: Williams et al. 2009, doi:10.1145/1498765.1498785 (the roofline model).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from decant.errors import BadInput
from decant.tune.hardware import Hardware
from decant.tune.predict import Drafting, Passes
from decant.tune.shape import BYTES, Shape
from decant.types import CostCurve

ROWS: Final = (*range(1, 17), 20, 24, 28, 32, 40, 48, 56, 64)
"""Rows of a request at which curves are computed; between them they are straight."""


@final
@dataclass(frozen=True, slots=True)
class Part:
    """A part of a pass: what it reads, and its operations."""

    bytes: float
    flops: float


@final
@dataclass(frozen=True, slots=True)
class Load:
    """What a pass holds: new rows of each request of a batch, behind `context` cached tokens each."""

    batch: int
    rows: float
    context: int


def parts(shape: Shape, load: Load) -> tuple[Part, Part, Part]:
    """Of a pass: the products of the layers, attention, the output matrix."""
    rows = load.batch * load.rows
    attended = load.context + load.rows
    return (
        Part(shape.layer_parameters * shape.weight_bytes, 2 * shape.layer_parameters * rows),
        Part(
            load.batch * attended * shape.cached_token,
            4 * rows * attended * shape.layers * shape.heads * shape.head_size,  # scores, then mixtures
        ),
        Part(shape.output_parameters * shape.weight_bytes, 2 * shape.output_parameters * rows),
    )


def pass_seconds(machine: Hardware, shape: Shape, load: Load) -> float:
    """Of one pass. Raises BadInput where the machine has no number for the model's dtype."""
    reads, computes = machine.bytes_per_second() * machine.devices, machine.flops(shape.dtype) * machine.devices
    seconds = launching(machine, shape, load.batch) + _exchanging(machine, shape, load)
    for part, share in zip(parts(shape, load), (1.0, machine.attention_efficiency, 1.0), strict=True):
        reading, computing = part.bytes / (share * reads), part.flops / (share * computes)
        seconds += max(reading, computing) + (1 - machine.overlap) * min(reading, computing)
    return seconds


def launching(machine: Hardware, shape: Shape, batch: int) -> float:
    """Seconds of a pass that kernels cost whatever they do."""
    kernels = (shape.layers + 1) * machine.kernels_per_layer * machine.launch_us
    return 1e-6 * (kernels + shape.layers * batch * machine.request_us)


def _exchanging(machine: Hardware, shape: Shape, load: Load) -> float:
    """Seconds in which devices add up what each of them has: twice a layer, every row, in a ring."""
    if machine.devices == 1:
        return 0.0
    sent = load.batch * load.rows * shape.width * BYTES[shape.dtype] * 2 * (1 - 1 / machine.devices)
    return 2 * shape.layers * (1e-6 * machine.link_us + sent / (1e9 * machine.link_gb_s))


def passes(machine: Hardware, shape: Shape, batches: Iterable[int], context: int) -> Passes:
    """The curves that `predict` takes, of one model behind so many tokens."""
    curves = {
        batch: CostCurve(ROWS, tuple(pass_seconds(machine, shape, Load(batch, rows, context)) for rows in ROWS))
        for batch in batches
    }
    return Passes(curves, 1e-6 * machine.step_us)


def drafting(machine: Hardware, draft: Shape, batches: Sequence[int], context: int, width: float = 1.0) -> Drafting:
    """Of a draft model: a pass a level, over `width` guesses of each request."""
    batches = sorted(set(batches))
    seconds = tuple(
        1e-6 * machine.level_us + pass_seconds(machine, draft, Load(batch, width, context)) for batch in batches
    )
    return Drafting(level=CostCurve(tuple(batches), seconds))


def head_seconds(machine: Hardware, parameters: int, dtype: str, load: Load) -> float:
    """Of one level of a head with so many weights, its output matrix among them; its cache is left out."""
    reading = parameters * BYTES[dtype] / (machine.bytes_per_second() * machine.devices)
    computing = 2 * parameters * load.batch * load.rows / (machine.flops(dtype) * machine.devices)
    kernels = 2 * machine.kernels_per_layer * machine.launch_us + load.batch * machine.request_us + machine.level_us
    return 1e-6 * kernels + max(reading, computing) + (1 - machine.overlap) * min(reading, computing)


def needed_gb(models: Iterable[Shape], batch: int, context: int) -> float:
    """GB (1e9 bytes) that the weights and the caches of these models take together."""
    return sum(one.parameters * one.weight_bytes + batch * context * one.cached_token for one in models) / 1e9


def refuse_large(machine: Hardware, models: Sequence[Shape], batch: int, context: int) -> None:
    """Raise BadInput where these models and their caches do not fit into the machine."""
    needed, there = needed_gb(models, batch, context), machine.memory_gb * machine.devices
    if needed > there:
        names = " and ".join(one.name for one in models)
        raise BadInput(
            f"{names} with {batch} contexts of {context} tokens need {needed:.0f} GB, and {machine.name} has "
            f"{there:.0f} GB; take a smaller batch, rounded weights, or more devices (NAME:devices=4)"
        )


def report(
    machine: Hardware, shape: Shape, contexts: Iterable[int], batches: Iterable[int], tokens: Sequence[int] = ROWS
) -> dict[str, Any]:
    """A report in the shape of `bench.costs`, with `predicted` in it; its floors are at the machine's peak."""
    weights = (shape.layer_parameters + shape.output_parameters) * shape.weight_bytes
    peak = machine.bandwidth_gb_s * machine.devices
    contexts, batches = list(contexts), list(batches)
    curves = []
    for batch, context in ((batch, context) for batch in batches for context in contexts):
        floor = (weights + batch * context * shape.cached_token) / peak / 1e6
        ms = {count: 1e3 * pass_seconds(machine, shape, Load(batch, count, context)) for count in tokens}
        points = [
            {
                "tokens": count,
                "ms": dict.fromkeys(("median", "low", "high"), round(value, 5)),
                "relative": round(value / ms[tokens[0]], 4),
                "floor_fraction": round(floor / value, 4),
            }
            for count, value in ms.items()
        ]
        curves.append({"batch": batch, "context": context, "floor_ms": round(floor, 5), "points": points})
    return {
        "predicted": True,
        "machine": machine.facts(),
        "model": shape.facts(),
        "settings": {"contexts": contexts, "batches": batches, "tokens": list(tokens)},
        "bandwidth_gb_s": peak,
        "bytes": {"weights": weights, "cached_token": shape.cached_token},
        "curves": curves,
        "skipped": [],
    }
