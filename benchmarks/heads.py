"""How far do trained heads guess, and what do they read for it, beside the house's draft model?

    python benchmarks/heads.py [--heads eagle=DIR,medusa=DIR] [--threads 1] [--quick]

house:target with each of its heads (those that its decant.json names, or --heads), greedily and at 0.8, on held-out
prompts: tokens a target call, and the megabytes of weights that a round of drafting reads in bfloat16. The yardstick is
draft-model with a chain of five. Acceptance does not depend on the size of the target, which is not widened here; what
it is worth in time is in benchmarks/methods.py.

Left out: time, and the bytes of the head's own cache, which are few.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from decant.apps.catalog import DRAFTERS, METHODS, NEEDS_HEAD
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench.study import begin, heading, options, save

SOURCES = ("house:tasks", "house:code")
CHAIN = "draft-model:depth=5"
AT_ONCE = ("medusa", "ppd", "hidden-transfer")  # all depths in one reading


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.add_argument("--heads", default="", help="kind=DIR with commas between (default: those of house:target)")
    parser.add_argument("--methods", help="with commas between (default: every method with a head)")
    parser.add_argument("--limit", type=int, default=30)
    parser.add_argument("--max-tokens", type=int, default=64)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.limit, chosen.max_tokens = 2, 8
    return chosen


def kind(name: str) -> str:
    """The head that a method drafts with."""
    recipe = METHODS[split(name).name]
    return recipe.head or DRAFTERS[str(recipe.drafter)].get().kind


def megabytes(folder: Path | None, name: str, depth: int) -> float | None:
    """What a round reads: every level once more, unless all depths come at once."""
    file = (folder or Path()) / "recipe.json"
    if not file.is_file():
        return None
    learnt = json.loads(file.read_text())["learnt"]
    levels = 1 if kind(name) in AT_ONCE else depth
    return round((learnt["read_bytes"] * levels + learnt.get("once_bytes", 0)) / 1e6, 2)


def row(found: dict[str, Any], heads: dict[str, str], draft_bytes: int) -> dict[str, Any]:
    name, depth = found["name"], len(found["acceptance_by_position"])
    if name == CHAIN:
        read = round(draft_bytes * 5 / 1e6, 2)
    else:
        where = heads.get(kind(name))
        read = megabytes(Path(where) if where else None, name, depth)
    return {"method": name, "tokens_a_call": found["acceptance_length"], "depth": depth, "megabytes_a_round": read}


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    target, draft = Opening(exact="off").pair("house:target", "house:draft", ["draft-model"])
    heads = {**target.heads, **dict(one.split("=", 1) for one in chosen.heads.split(",") if one)}
    target = replace(target, heads=heads)
    asked = chosen.methods.split(",") if chosen.methods else [m.name for m in METHODS.values() if m.needs == NEEDS_HEAD]
    methods = [CHAIN, *(name for name in asked if kind(name) in heads)]
    results = []
    for source in SOURCES:
        for heat in (0.0, 0.8):
            question = Question(methods, source, draft, max_tokens=chosen.max_tokens)
            trial = prepare(target, question, read(source, chosen.limit), Sampling(temperature=heat), Opening())
            report = trial.race(1, lambda done, total, text: None)
            raced = [one for one in report["methods"] if one["name"] != "plain" and one["skipped"] is None]
            network = draft.model.network
            rows = [row(one, heads, network.weight_bytes() * 2 // network.dtype.itemsize) for one in raced]
            yardstick = rows[0]["tokens_a_call"]
            print(f"\n{source}, temperature {heat:g}", flush=True)
            for one in rows:
                ratio = one["tokens_a_call"] / yardstick
                print(f"  {one['method']:<24}{one['tokens_a_call']:6.2f} a call {ratio:5.2f}x  depth {one['depth']}"
                      f"  {one['megabytes_a_round']} MB a round", flush=True)  # fmt: skip
            results.append({"source": source, "temperature": heat, "rows": rows})
    save({"machine": facts, "results": results}, __file__, chosen)
