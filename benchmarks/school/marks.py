"""Exact match, question by question, and what chance there is in it."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from decant.bench.keeping import Kept
from decant.house import evaluate, tasks
from decant.models import build as models

RESAMPLES = 10_000


def marks(folder: Path, each: int, kept: Path) -> list[int]:
    """1 where a held-out question is answered to the letter, greedily; `each` of every task, in the same order for
    whoever answers. kept: a folder that remembers them by the weights that answered."""
    weights = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()[:16]
    file, question = Kept(kept / f"{weights}-{each}.json"), {"each": each, "weights": weights}
    found = file.begin(question)
    if not found:
        model, words = models.load_folder(folder).eval(), Tokenizer.from_file(str(folder / "tokenizer.json"))
        asked = [instance for task in tasks.GENERATORS for instance in evaluate.held_out(task, each)]
        replies = evaluate.answer(model, words, [one.prompt for one in asked])
        found = {"right": [int(tasks.correct(one, said)) for one, said in zip(asked, replies, strict=True)]}
        file.keep(question, found)
    return found["right"]


def by_task(right: Sequence[float], each: int) -> dict[str, float]:
    """The share of every task's questions."""
    return {task: round(sum(right[at * each :][:each]) / each, 4) for at, task in enumerate(tasks.GENERATORS)}


def interval(runs_SQ: list[list[int]], baseline_SQ: list[list[int]] | None = None) -> dict[str, float]:
    """The mean, and 95 % of what it would be with other questions (bootstrap); runs of several seeds are averaged
    first. baseline_SQ: of the difference to these, question by question."""
    each_Q = np.mean(runs_SQ, axis=0)
    if baseline_SQ is not None:
        each_Q = each_Q - np.mean(baseline_SQ, axis=0)
    rng = np.random.default_rng(0)
    means_R = np.array([each_Q[rng.integers(len(each_Q), size=len(each_Q))].mean() for _ in range(RESAMPLES)])
    low, high = np.quantile(means_R, (0.025, 0.975))
    return {"mean": round(float(each_Q.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}
