"""Every method of the catalogue on every set of prompts: which text do they give, and how soon?

    python benchmarks/methods.py [--cells house:tasks/0,house:code/0.8 ...] [--widen 0.4B] [--policy P] [--threads 2]
    python benchmarks/methods.py --policy cost-aware    # is any method slower than plain decoding by more than 5 %?

A cell is a set of prompts at a temperature: house:tasks and house:code with house:target widened to 0.4B (its narrow
draft and heads beside it), and stories260K on TinyStories, are the headline; gsm8k, humaneval and spec-bench stand
beside them (the house model's answers there are its own invention: look at the distinct 4-grams). In each cell all
methods race against plain decoding in the same run. Whole rounds are kept under DECANT_HOME: interrupted, the same
command goes on where it stopped, and a cell that is finished is only told again. With --policy methods that decode in a
loop of their own are skipped, and those that differ from one before them by their policy alone.

Left out: batches above 1 (benchmarks/batching.py), other machines, and whether another tokenizer's draft would do
(benchmarks/cross_vocabulary.py); methods whose needs are not met say so in the table.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from decant.apps.choosing import warp_of
from decant.apps.compose import applicable
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.apps.outside import outside
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench.study import begin, heading, options, result_file, save, slowest, working_dtype
from decant.errors import DecantError

HEADLINE = ("house:tasks", "house:code", "tinystories")
BESIDE = ("gsm8k", "humaneval", "spec-bench")
STORIES = "weights/stories260K/hf"  # under DECANT_DATA


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=3)
    parser.add_argument("--cells", help="PROMPTS/TEMPERATURE with commas between (default: all at 0 and 0.8)")
    parser.add_argument("--methods", default="all", help="with commas between, or all")
    parser.add_argument("--also", help="beside all: what needs a knob, such as retrieval:store=DIR (decant datastore)")
    parser.add_argument("--widen", default="0.4B", help="size of house:target; 'none' leaves it as it is")
    parser.add_argument("--dtype", default=working_dtype(), help="of house:target")
    parser.add_argument("--policy", help="in place of each method's own, wherever a method drafts by one")
    parser.add_argument("--limit", type=int, default=8, help="prompts of a set")
    parser.add_argument("--max-tokens", type=int, default=48)
    parser.add_argument("--minutes", type=float, help="begin no cell after so many")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens, chosen.methods = "none", 2, 8, "prompt-lookup,token-recycling"
        chosen.cells = chosen.cells or "house:tasks/0"
    if chosen.policy and not chosen.quick and chosen.json is None:
        plainly = result_file(__file__, chosen)
        chosen.json = plainly.with_stem(f"{plainly.stem}-{chosen.policy}".replace(":", "-").replace("=", "-"))
    return chosen


def cells(chosen: argparse.Namespace) -> list[tuple[str, float]]:
    """Headline first: what is left when time runs out is what stands beside."""
    if chosen.cells:
        return [(name, float(heat)) for name, _, heat in (cell.rpartition("/") for cell in chosen.cells.split(","))]
    return [(name, heat) for names in (HEADLINE, BESIDE) for name in names for heat in (0.0, 0.8)]


class Models:
    """Loaded once each: targets with their drafts."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen, self.known = chosen, {}

    def of(self, prompts: str) -> tuple[Opening, Any, Any]:
        name = "stories" if prompts == "tinystories" else "house"
        if name not in self.known:
            widen = None if self.chosen.widen == "none" else self.chosen.widen
            opening = Opening(dtype=self.chosen.dtype, widen=widen)
            source = "house:target"
            if name == "stories":
                opening = Opening(dtype="float32")
                source = str(Path(os.environ.get("DECANT_DATA", "")) / STORIES)
            self.known[name] = (opening, *opening.pair(source, None, ["all"]))
        return self.known[name]


def race(models: Models, prompts: str, heat: float, chosen: argparse.Namespace) -> dict[str, Any]:
    """The report of one cell."""
    opening, target, draft = models.of(prompts)
    asked = read(prompts, chosen.limit) if prompts.startswith("house:") else outside(prompts, chosen.limit)
    methods = chosen.methods if chosen.methods == "all" else chosen.methods.split(",")
    question = Question(methods, prompts, draft, None, chosen.policy, chosen.max_tokens)
    trial = prepare(target, question, asked, Sampling(temperature=heat), opening)
    if chosen.also:
        more, _ = applicable(chosen.also.split(","), target, draft, warp_of(trial.sampling), policy=chosen.policy)
        known = {split(method.name).name for method in more}
        without = [(name, reason) for name, reason in trial.skipped if name not in known]
        trial = replace(trial, methods=[*trial.methods, *more], skipped=without)
    trial = trial.paced()
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "methods"
    name = f"{prompts}-{heat:g}-{chosen.widen}-{chosen.policy or 'own'}".replace(":", "-").replace("=", "-")
    kept = None if chosen.quick else home / f"{name}.json"
    return trial.race(chosen.repeat, lambda done, total, text: None, resume=kept)


def line(row: dict[str, Any]) -> str:
    if row["skipped"] is not None:
        return f"  {row['name']:<22} skipped: {row['skipped'][:90]}"
    said = "lossy" if row["lost"] else {True: "equal", None: "its law"}.get(row["identical"], "DIFFERS")
    if said == "DIFFERS" and not row["differs"]["unexplained"]:  # exact mode was off
        said = f"equal but for near ties: {row['differs']['near_ties']}"
    agreement, nats = (row["lost"] or {}).get("agreement"), (row["lost"] or {}).get("nats")
    lost = ("" if agreement is None else f" {agreement:.2f} agree") + ("" if nats is None else f" {nats:+.3f} nats")
    speed, gain, length = row["tokens_per_second"]["median"], row["speedup"], row["acceptance_length"]
    return (
        f"  {row['name']:<22}{speed:8.1f} tokens/s {gain['median']:6.2f}x ({gain['low']:.2f} to {gain['high']:.2f})"
        f"{'-' if length is None else f'{length:.2f}':>7} a call   {said}{lost}"
    )


def summary(reports: dict[str, dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Speed-up and tokens a call of every method, by cell."""
    return {
        cell: {
            row["name"]: [row["speedup"]["median"], row["acceptance_length"]]
            for row in report["methods"]
            if row["skipped"] is None
        }
        for cell, report in reports.items()
    }


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    models, reports, began = Models(chosen), {}, time.monotonic()
    for prompts, heat in cells(chosen):
        if chosen.minutes is not None and time.monotonic() - began > 60 * chosen.minutes:
            print(f"{prompts} at {heat:g}: not begun, {chosen.minutes:g} minutes are over", flush=True)
            continue
        try:
            report = race(models, prompts, heat, chosen)
        except DecantError as error:
            print(f"{prompts} at {heat:g} was skipped: {error}", flush=True)
            continue
        reports[f"{prompts}/{heat:g}"] = report
        distinct = report["methods"][0]["distinct_4grams"]
        spent = (time.monotonic() - began) / 60
        print(f"\n{prompts}, temperature {heat:g}, {distinct} distinct 4-grams, after {spent:.1f} minutes", flush=True)
        ran = sorted(report["methods"], key=lambda row: -(row["speedup"] or {"median": 0})["median"])
        print("\n".join(map(line, ran)), flush=True)
        found = {"policy": chosen.policy, "slowest": slowest(reports), "summary": summary(reports)}
        save({"machine": facts, **found, "reports": reports}, __file__, chosen)
    if (worst := slowest(reports)) is not None:
        low, high = worst["low"], worst["high"]
        print(f"\nslowest: {worst['median']:.3f}x ({low:.3f} to {high:.3f}), {worst['method']} on {worst['cell']}")
