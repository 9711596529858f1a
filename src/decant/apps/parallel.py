"""`bench --suite parallel`: how quality falls as more is said at once, method by method, on ParallelBench's tasks.

A method whose knob trades quality for passes is a curve, every other a point. Tokens a pass count those of answers,
ends left out; passes are those that a request took part in.
Source: Kang et al. 2025, arXiv:2510.04767.
"""

import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, final

from decant.apps.catalog import METHODS
from decant.apps.choosing import Chosen
from decant.apps.compose import compose
from decant.apps.knobs import split
from decant.apps.prompts import chat_prompt, encode
from decant.bench.parallelism import Point, aup, ideal_score, lost_bits
from decant.decoders.continuous import Continuous, Request, answers
from decant.decoders.stopping import Stopping
from decant.errors import BadInput, DecantError
from decant.house.parallel import FREE, SIZES, TASKS, draw, right
from decant.house.tasks import Instance
from decant.models.load import Loaded
from decant.noise import sample_seed

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""

COUNTS: Final = ("1", "2", "3", "4", "8", "32")
SWEEPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "low-confidence": ("per_step", COUNTS),
    "random": ("per_step", COUNTS),
    "margin": ("per_step", COUNTS),
    "entropy": ("per_step", COUNTS),
    "threshold": ("tau", ("1.1", "0.99", "0.95", "0.9", "0.8", "0.6")),
    "factor": ("factor", ("0.1", "0.3", "1", "2", "4")),
    "entropy-bound": ("gamma", ("0.001", "0.01", "0.1", "0.5", "1")),
    "entropy-threshold": ("bar", ("0.01", "0.1", "0.3", "0.5", "1")),
}
"""The knob that trades quality for passes, and values from slow to fast."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """Questions of one task and size."""

    task: str
    size: int
    instances: tuple[Instance, ...]


EACH: Final = 25  # questions of a task and size, as in the paper


@final
@dataclass(frozen=True, slots=True)
class Suite:
    """What is asked, and how. each: questions of a task and size. length: places of an answer."""

    each: int = EACH
    length: int = 32
    batch: int = 16
    seed: int = 0

    def cells(self) -> list[Cell]:
        """The same held-out questions for the same seed; grids have one size."""
        found = []
        for task in TASKS:
            for size in SIZES if task not in {"latin", "sudoku"} else SIZES[:1]:
                rng = random.Random(f"parallel {self.seed} {task} {size}")
                found.append(Cell(task, size, tuple(draw(rng, task, size, held_out=True) for _ in range(self.each))))
        return found


def settings_of(names: Sequence[str] | str) -> list[str]:
    """Specs: a method named without knobs is swept, one with knobs is a point. "all": every method that fills in masks.

    Raises BadInput for a method of other models.
    """
    chosen = [name for name, recipe in METHODS.items() if recipe.fills] if names == "all" else list(names)
    found = []
    for spec in chosen:
        wanted = split(spec)
        name = "low-confidence" if wanted.name == "plain" else wanted.name
        if not METHODS[name].fills:
            raise BadInput(f"the suite parallel is for models that fill in masks, and {spec} is for others")
        knob, values = SWEEPS.get(name, ("", ()))
        swept = values and not set(wanted.knobs) - {"schedule", "cache"}
        found += [":".join([name, *spec.split(":")[1:], f"{knob}={value}"]) for value in values] if swept else [spec]
    return found


def run(
    target: Loaded,
    draft: Loaded | None,
    specs: Iterable[str],
    chosen: Chosen,
    suite: Suite,
    progress: Progress = lambda done, total, text: None,
) -> dict[str, Any]:
    """The report, JSON-ready. A method that cannot run here is listed as skipped, with the reason."""
    specs, cells = list(specs), suite.cells()
    points, skipped = [], []
    for done, spec in enumerate(specs):
        progress(done, len(specs), spec)
        try:
            decoder = compose(spec, target, draft, chosen.warp, constraint=chosen.constraint).decoder
            points.append(_point(spec, decoder, target, cells, suite))
        except DecantError as error:
            skipped.append({"method": spec, "reason": str(error)})
    progress(len(specs), len(specs), "done")
    best = max((point["score"] for point in points), default=0.0)
    families = {point["family"]: [] for point in points}
    for point in points:
        families[point["family"]].append(Point(point["tokens_a_pass"], point["score"]))
    return {
        "points": points,
        "curves": [{"family": name, "points": len(each), "aup": aup(each, best)} for name, each in families.items()],
        "theory": [_theory(cell) for cell in cells],
        "skipped": skipped,
    }


def _theory(cell: Cell) -> dict[str, Any]:
    """Of a model that knows the law and says all items at once."""
    return {
        "task": cell.task,
        "size": cell.size,
        "lost_bits": lost_bits(cell.task, cell.size, cell.size),
        "ideal_score": ideal_score(cell.task, cell.size, cell.size),
    }


def _point(spec: str, decoder: Any, target: Loaded, cells: list[Cell], suite: Suite) -> dict[str, Any]:
    begun = time.perf_counter()
    rows = [{"task": cell.task, "size": cell.size, **_answered(decoder, target, cell, suite)} for cell in cells]
    seconds = time.perf_counter() - begun
    tokens, passes = (sum(row[name] for row in rows) for name in ("tokens", "passes"))

    def mean(kind: str, among: Callable[[str], bool]) -> float:
        return fmean(row[kind] for row in rows if among(row["task"]))

    return {
        "method": spec,
        "family": split(spec).name,
        "score": mean("score", lambda task: True),
        "score_bound": mean("score", lambda task: task not in FREE),
        "score_free": mean("score", lambda task: task in FREE),
        "tokens_a_pass": tokens / passes,
        "passes": passes / sum(len(cell.instances) for cell in cells),
        "passes_of_copy": mean("passes", lambda task: task == "copy") / suite.each,
        "passes_of_shuffle": mean("passes", lambda task: task == "shuffle") / suite.each,
        "seconds": seconds,
        "cells": rows,
    }


def _answered(decoder: Any, target: Loaded, cell: Cell, suite: Suite) -> dict[str, float]:
    """Percent right; tokens and passes of all questions."""
    asked = [chat_prompt([{"role": "user", "content": one.prompt}], cell.task) for one in cell.instances]
    ids = encode(asked, target, suite.length)
    crank = Continuous(decoder, batch=suite.batch, device=target.model.network.device)
    stop = Stopping(suite.length, target.ends)
    requests = [Request(prompt, sample_seed(suite.seed, at), stop) for at, prompt in enumerate(ids)]
    passes = sum(answers(crank, requests))
    said = [[token for token in request.output.tokens if token not in target.ends] for request in requests]
    found = [right(one, target.decode(tokens)) for one, tokens in zip(cell.instances, said, strict=True)]
    return {"score": 100 * fmean(found), "tokens": sum(map(len, said)), "passes": passes}
