"""How far do trained heads guess for what they read, beside the house's draft model?

    python benchmarks/heads.py [--heads eagle=DIR,medusa=DIR] [--depth 5] [--nodes 15] [--threads 1] [--quick]

house:target with each of its heads (those that its decant.json names, and --heads), greedily and at 0.8, on held-out
prompts: tokens a target call, and the megabytes of weights that a round of drafting reads in bfloat16. The yardstick is
draft-model with --depth levels; every head drafts as many levels as it can read for the same bytes, at least one. A
level reads the weights once, whatever its width; heads that guess all depths in one reading do that once a round, and
mostly for less. Each is measured as a chain and as a tree, the yardstick too. Trees are dynamic-tree's, with every node
of the budget: it does not look at what a row costs here, so that the numbers are no machine's. A head of several
methods (eagle, eagle-2), which differ by their policy alone, stands here once.

Acceptance does not depend on the size of the target, which is not widened here; what it is worth in time is in
benchmarks/methods.py. Left out: time, and the bytes of the head's own cache, which are few.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from decant.apps.catalog import DRAFTERS, METHODS, NEEDS_HEAD
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench.study import begin, heading, options, save
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.models.heads.folder import NETS, find
from decant.policies.dynamic_tree import DynamicTree

SOURCES: Final = ("house:tasks", "house:code")
YARDSTICKS: Final = {"chain": "draft-model", "tree": "draft-tree"}
AT_ONCE: Final = ("medusa", "ppd", "hidden-transfer")  # all depths in one reading


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.add_argument("--heads", default="", help="kind=DIR with commas between (default: those of house:target)")
    parser.add_argument("--methods", help="with commas between (default: one for every head)")
    parser.add_argument("--depth", type=int, default=5, help="levels of the yardstick")
    parser.add_argument("--nodes", type=int, default=15, help="guesses of a tree: with the root 16 rows")
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


def taught(heads: dict[str, str]) -> list[str]:
    """A method for every head."""
    known = {kind(one.name): one.name for one in reversed(METHODS.values()) if one.needs == NEEDS_HEAD}
    return [known[one] for one in heads if one in known]


def a_round(folder: str, name: str, budget: int) -> tuple[str, int]:
    """A method with as many levels as `budget` bytes read, and the bytes of its round."""
    learnt = json.loads((Path(folder).expanduser() / "recipe.json").read_text())["learnt"]
    each, once = learnt["read_bytes"], learnt.get("once_bytes", 0)
    if kind(name) in AT_ONCE:
        return name, each + once
    levels = max(1, (budget - once) // each)
    return f"{name}:depth={levels}", each * levels + once


def policy(form: str, chosen: argparse.Namespace) -> str:
    """Of all methods of a race."""
    chain, tree = f"fixed:depth={chosen.depth}", f"dynamic-tree:depth={chosen.depth}:budget={chosen.nodes}"
    return chain if form == "chain" else tree


def unpriced(method: Method) -> Method:
    """With every node of its budget, whatever rows cost."""
    decoder = method.decoder
    if not isinstance(decoder, Speculative) or not isinstance(decoder.policy, DynamicTree):
        return method
    return replace(method, decoder=replace(decoder, policy=replace(decoder.policy, target_costs=None)))


def compared(raced: list[dict[str, Any]], sizes: dict[str, int], yardstick: str, form: str) -> list[dict[str, Any]]:
    """The yardstick, and every head beside it."""
    tokens = {one["name"]: one["acceptance_length"] for one in raced}
    found = [(name, tokens[name], size) for name, size in sizes.items() if name in tokens]
    return [
        {"method": name, "form": form, "tokens_a_call": reached, "bytes": size,
         "ratio": round(reached / tokens[yardstick], 3)}
        for name, reached, size in found
    ]  # fmt: skip


def line(row: dict[str, Any]) -> str:
    size = f"{row['bytes'] / 1e6:7.2f} MB a round"
    return f"  {row['form']:<6}{row['method']:<24}{row['tokens_a_call']:6.2f} a call {size} {row['ratio']:6.2f}x"


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    target, draft = Opening(exact="off").pair("house:target", "house:draft", ["draft-model"])
    named = {one: str(folder) for one in NETS if (folder := find("house:target", one)) is not None}
    heads = {**named, **dict(one.split("=", 1) for one in chosen.heads.split(",") if one)}
    target, network = replace(target, heads=heads), draft.model.network
    level = network.weight_bytes() * 2 // network.dtype.itemsize
    asked = [one for one in chosen.methods.split(",") if kind(one) in heads] if chosen.methods else taught(heads)
    budget, results = level * chosen.depth, []
    rounds = dict(a_round(heads[kind(name)], name, budget) for name in asked)
    for source in SOURCES:
        for heat in (0.0, 0.8):
            print(f"\n{source}, temperature {heat:g}", flush=True)
            for form, guesser in YARDSTICKS.items():
                yardstick = f"{guesser}:depth={chosen.depth}"
                sizes = {yardstick: budget, **rounds}
                question = Question(list(sizes), source, draft, None, policy(form, chosen), chosen.max_tokens)
                trial = prepare(target, question, read(source, chosen.limit), Sampling(temperature=heat), Opening())
                trial = replace(trial, methods=[unpriced(method) for method in trial.methods])
                report = trial.race(1, lambda done, total, text: None)
                raced = [one for one in report["methods"] if one["skipped"] is None]
                rows = compared(raced, sizes, yardstick, form)
                print("\n".join(map(line, rows)), flush=True)
                results.append({"source": source, "temperature": heat, "form": form, "rows": rows})
    save({"machine": facts, "depth": chosen.depth, "nodes": chosen.nodes, "results": results}, __file__, chosen)
