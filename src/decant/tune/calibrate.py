"""A machine's numbers out of the passes that were measured on it, by least squares of the logarithms of their times.

Six numbers are searched from several beginnings, for which part of a pass reads and which computes is not known.
Source: Marquardt 1963, doi:10.1137/0111030 (least squares of what is not linear).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp, log
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from decant.errors import BadInput
from decant.tune.hardware import Hardware
from decant.tune.predict import Profile
from decant.tune.shape import Shape
from decant.tune.simulate import Load, parts, pass_seconds

ROUNDS: Final = 60  # of one search
NUDGE: Final = 1e-4  # of each number, for slopes
BEGINNINGS: Final = tuple((reading, overlap) for reading in (0.0, -1.2) for overlap in (0.2, 0.8))
"""Of the searches: logarithms added to the bandwidth, and overlaps."""
NONE: Final = 1e-3  # microseconds that count as nothing
Numbers = NDArray[np.float64]
POINTS: Final = 6  # fewer say nothing of six numbers


@final
@dataclass(frozen=True, slots=True)
class Measured:
    """One pass: what it held, and its median seconds."""

    load: Load
    seconds: float


@final
@dataclass(frozen=True, slots=True)
class Fitted:
    """A machine, and how far its passes are from the measured ones: each predicted over measured, of every point."""

    machine: Hardware
    ratios: tuple[float, ...]

    @property
    def error(self) -> float:
        """The typical miss, as a share: 0.1 is ten per cent (root mean square of logarithms)."""
        return exp((sum(log(ratio) ** 2 for ratio in self.ratios) / len(self.ratios)) ** 0.5) - 1


def measured(report: Mapping[str, Any]) -> list[Measured]:
    """The passes of a report of `bench --costs`. Raises BadInput where it is none."""
    try:
        return [
            Measured(Load(curve["batch"], point["tokens"], curve["context"]), 1e-3 * point["ms"]["median"])
            for curve in report["curves"]
            for point in curve["points"]
        ]
    except (KeyError, TypeError) as error:
        raise BadInput(f"this is no report of bench --costs: {error} is missing; write one with --json") from error


def compare(machine: Hardware, shape: Shape, report: Mapping[str, Any]) -> tuple[float, ...]:
    """Predicted over measured, of every pass of a report."""
    return tuple(pass_seconds(machine, shape, one.load) / one.seconds for one in measured(report))


def calibrated(report: Mapping[str, Any], shape: Shape, step_us: float = 0.0) -> Fitted:
    """The machine on which the model of this shape was measured. Its peaks are what passes reached there.

    step_us: microseconds of a step beside its passes, which such a report does not hold.

    Raises BadInput for a report without passes of one row and of many: they cannot be told apart.
    """
    known = measured(report)
    rows = sorted(one.load.batch * one.load.rows for one in known)
    if len(known) < POINTS or rows[-1] < 8 * rows[0]:
        raise BadInput(
            f"{len(known)} passes of {rows[0] if rows else 0:g} to {rows[-1] if rows else 0:g} rows do not tell "
            f"reading from computing; measure 6 or more, from 1 row to 8 or more"
        )
    said = report.get("machine") or {}
    start = Hardware(
        name=str(said.get("processor") or said.get("name") or "this machine"),
        memory_gb=float(said.get("memory_gib") or 1.0) * 2**30 / 1e9,
        bandwidth_gb_s=float(report.get("bandwidth_gb_s") or 10.0),
        tflops={shape.dtype: _tflops(known, shape)},
        bandwidth_efficiency=1.0,
        compute_efficiency=1.0,
        attention_efficiency=0.7,
        overlap=0.5,
        launch_us=10.0,
        kernels_per_layer=1.0,
        step_us=step_us,
        sources=dict.fromkeys(FITTED, f"measured: passes of {shape.name}"),
        request_us=10.0,
    )
    machine = _searched(start, shape, known)
    return Fitted(machine, compare(machine, shape, report))


def with_levels(machine: Hardware, draft: Shape, profile: Profile, context: int) -> Hardware:
    """The machine with its `level_us`: what a level of this draft model's chain took there, less its pass."""
    measured_us = 1e6 * profile.drafting.seconds(1, profile.depth) / profile.depth
    pass_us = 1e6 * pass_seconds(machine, draft, Load(1, 1, context))
    source = f"measured: guesses of {draft.name}"
    return replace(machine, level_us=max(0.0, measured_us - pass_us), sources={**machine.sources, "level_us": source})


FITTED: Final = (
    "memory_gb", "bandwidth_gb_s", "tflops", "bandwidth_efficiency", "compute_efficiency", "attention_efficiency",
    "overlap", "launch_us", "kernels_per_layer", "step_us", "request_us",
)  # fmt: skip


def _tflops(known: Sequence[Measured], shape: Shape) -> float:
    """Of the largest pass, as if it did nothing but compute: where the search begins."""
    largest = max(known, key=lambda one: one.load.batch * one.load.rows)
    return sum(part.flops for part in parts(shape, largest.load)) / largest.seconds / 1e12


def _searched(start: Hardware, shape: Shape, known: Sequence[Measured]) -> Hardware:
    """The six numbers with the least squares: reading, computing, a layer's kernels, a request's, attention's share of
    both peaks, and the overlap."""
    times = np.log([one.seconds for one in known])
    counted = np.array([[[part.bytes, part.flops] for part in parts(shape, one.load)] for one in known])
    requests = np.array([shape.layers * one.load.batch for one in known])

    def misses(at: Numbers) -> Numbers:
        reading, computing, launch, request, attention = np.exp(at[:5])
        shares = np.array([1.0, attention, 1.0])
        read, computed = counted[..., 0] / (1e9 * reading * shares), counted[..., 1] / (1e12 * computing * shares)
        both = np.maximum(read, computed) + (1 - at[5]) * np.minimum(read, computed)
        kernels = 1e-6 * ((shape.layers + 1) * launch + requests * request)
        return np.log(both.sum(-1) + kernels) - times

    begin = np.log([start.bandwidth_gb_s, start.tflops[shape.dtype], start.launch_us, start.request_us, 0.7])
    found = [_least(misses, np.array([begin[0] + reading, *begin[1:], overlap])) for reading, overlap in BEGINNINGS]
    at = min(found, key=lambda one: float(misses(one) @ misses(one)))
    reading, computing, launch, request, attention = (float(value) for value in np.exp(at[:5]))
    return replace(
        start,
        bandwidth_gb_s=reading,
        tflops={shape.dtype: computing},
        launch_us=launch if launch > 1.1 * NONE else 0.0,
        request_us=request if request > 1.1 * NONE else 0.0,
        attention_efficiency=attention,
        overlap=float(at[5]),
    )


def _least(misses: Callable[[Numbers], Numbers], at: Numbers) -> Numbers:
    """Numbers with the least squares near `at`; a step that gains nothing is taken again, shorter."""
    damping, missed = 0.01, misses(at)
    for _ in range(ROUNDS):
        slopes = np.stack([(misses(at + nudge) - missed) / NUDGE for nudge in NUDGE * np.eye(len(at))], -1)
        square = slopes.T @ slopes
        damped = square + damping * (np.diag(np.diag(square)) + 1e-9 * np.eye(len(at)))
        tried = _bounded(at - np.linalg.solve(damped, slopes.T @ missed))
        now = misses(tried)
        if now @ now < missed @ missed:
            at, missed, damping = tried, now, damping / 3
        else:
            damping *= 4
    return at


def _bounded(at: Numbers) -> Numbers:
    """The last two are shares; a kernel costs no less than nothing."""
    return np.clip(at, [-10, -15, log(NONE), log(NONE), -5, 0], [12, 10, 12, 12, 0, 1])
