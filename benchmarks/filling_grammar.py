"""What does a grammar cost a model that fills in masks, and does all of it parse?

    python benchmarks/filling_grammar.py [--model house:diffusion] [--templates 24] [--quick]

JSON objects with gaps of 4 to 12 places for their values, several a template, greedy, one request at a time, with
`--fill-grammar json` and without; turns alternate. A step is a pass with what settles behind it; what opening the model
and reading the grammar take, once a call, is measured apart on one template and taken off.

Left out: other grammars; temperatures above 0.
"""

import json
import random
import time
from collections.abc import Mapping
from statistics import median
from typing import Any, Final

import decant
from decant import Infill
from decant.bench.study import begin, heading, options, save

FIRST: Final = "name"  # templates of one call begin alike
NAMES: Final = ("age", "city", "color", "size", "items", "total", "key", "note", "pet")


def template(rng: random.Random) -> Infill:
    """Two to four values are open."""
    names = [FIRST, *rng.sample(NAMES, rng.randint(1, 3))]
    return Infill("{" + ", ".join(f'"{name}": [MASK:{rng.randint(4, 12)}]' for name in names) + "}")


def filled(model: Any, templates: list[Infill], grammar: str | None) -> dict[str, float]:
    """Milliseconds a step, of the call with the first alone, steps, and the share of texts that are JSON."""
    begun = time.perf_counter()
    alone = decant.generate(model, templates[:1], fill_grammar=grammar, temperature=0, batch=1)
    between = time.perf_counter()
    said = decant.generate(model, templates, fill_grammar=grammar, temperature=0, batch=1)
    seconds = time.perf_counter() - between - (between - begun)
    steps, opened = sum(one.steps for one in said) - alone[0].steps, between - begun
    return {
        "ms": 1e3 * seconds / steps,
        "first_ms": 1e3 * opened,
        "steps": steps,
        "parse": sum(parses(one.text) for one in said) / len(said),
    }


def parses(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def row(times: list[dict[str, float]], beside: list[dict[str, float]]) -> Mapping[str, Any]:
    ratios = [one["ms"] / other["ms"] for one, other in zip(times, beside, strict=True)]
    return {
        "ms_a_step": [one["ms"] for one in times],
        "over_plain": {"median": median(ratios), "low": min(ratios), "high": max(ratios)},
        "first_ms": [one["first_ms"] for one in times],
        "steps": times[0]["steps"],
        "parse": min(one["parse"] for one in times),
    }


def main() -> None:
    parser = options(__doc__ or "")
    parser.add_argument("--model", default="house:diffusion")
    parser.add_argument("--templates", type=int, default=24)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.templates = 2
    facts, model, rng = begin(chosen), decant.load(chosen.model), random.Random(0)
    print(heading(facts))
    templates = [template(rng) for _ in range(chosen.templates)]
    turns: dict[str, list[dict[str, float]]] = {"none": [], "json": []}
    filled(model, templates[:2], "json")  # the grammar is read once
    for _ in range(chosen.repeat):
        for name, grammar in (("none", None), ("json", "json")):
            turns[name].append(filled(model, templates, grammar))
    found = {name: row(times, turns["none"]) for name, times in turns.items()}
    for name, said in found.items():
        over = said["over_plain"]
        print(
            f"grammar {name}: {median(said['ms_a_step']):.2f} ms a step, {over['median']:.2f} ({over['low']:.2f} to "
            f"{over['high']:.2f}) of none, {said['parse']:.0%} parse"
        )
    report = {"machine": facts, "model": model.facts(), "templates": len(templates), "grammars": found}
    print(f"results: {save(report, __file__, chosen)}")


if __name__ == "__main__":
    main()
