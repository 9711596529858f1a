"""Does the cost model agree with races that have been run here?

    python benchmarks/simulate_kept.py [--costs FILE] [--races FILE ...]

No model runs: the machine is fitted to passes of house:target widened to 0.4B that `bench --costs` has measured, which
guesses stood is taken from races of the same model on the same machine (`benchmarks/methods.py`), and the speed-up that
follows is held against the one that was measured there. What a level of guessing takes beside its pass is that of
draft-model. So it runs in seconds, on any machine, and says how far the arithmetic of a step is from a step;
`benchmarks/simulate.py` asks the harder question, about a size that nobody measured.

Left out: methods that guess trees (a race does not say of how many nodes), and acceptance itself, which is the race's.
"""

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from decant.apps.catalog import METHODS
from decant.apps.guessing import Guesser, heads_of
from decant.apps.knobs import split
from decant.apps.opening import Opening
from decant.apps.simulating import CHAINS
from decant.apps.sizes import shapes_of
from decant.bench.study import begin, options, save
from decant.tune.calibrate import Fitted, calibrated, with_levels
from decant.tune.carried import moved, of_race
from decant.tune.predict import predict
from decant.tune.simulate import passes

RESULTS = Path(__file__).parent / "results"
COSTS = RESULTS / "costs-2026-11-21-0.4B.json"
RACES = [RESULTS / f"methods-2026-11-21-house-{cell}.json" for cell in ("tasks-0", "tasks-0.8", "code-0")]
CONTEXT = 256  # about the middle of a prompt and its answer


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--costs", type=Path, default=COSTS, help="a report of bench --costs")
    parser.add_argument("--races", type=Path, nargs="+", default=RACES, help="results of benchmarks/methods.py")
    return parser.parse_args()


def typical(ratios: list[float]) -> float:
    """The typical miss of predicted over measured: 0.1 is ten per cent."""
    return math.exp(math.sqrt(sum(math.log(ratio) ** 2 for ratio in ratios) / len(ratios))) - 1


def held(fitted: Fitted, guesser: Guesser, race: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Of every chain of a race: the speed-up that follows from its guesses, and the measured one."""
    known = of_race(race, CHAINS)
    machine = replace(fitted.machine, step_us=1e6 * known.crank)
    there = passes(machine, guesser.target, [1], CONTEXT)
    measured = {row["name"]: row["speedup"]["median"] for row in race["methods"] if row["skipped"] is None}
    chain = next(one.profile for one in known.methods if one.method == "draft-model")
    machine = with_levels(machine, guesser.draft, chain, CONTEXT)
    found = {}
    for one in known.methods:
        guessing = guesser.drafting(METHODS[split(one.method).name], machine, 1)
        said = predict(there, moved(one.profile, known, machine, guessing), 1).speedup
        found[one.method] = {"predicted": round(said, 4), "measured": measured[one.method]}
    return found


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    costs = json.loads(chosen.costs.read_text())
    model = costs["model"]
    target, draft = shapes_of(model["name"], None, Opening(dtype=model["dtype"], widen=model["widen"]))
    fitted = calibrated(costs, target)
    print(
        f"{len(fitted.ratios)} passes of {model['name']} at {model['widen']}, fitted: typical error {fitted.error:.1%}"
    )
    guesser = Guesser(target, draft, heads_of(model["name"]), CONTEXT)
    cells = {}
    for file in chosen.races:
        for cell, race in json.loads(file.read_text())["reports"].items():
            cells[cell] = held(fitted, guesser, race)
            print(f"\n{cell}")
            for name, row in cells[cell].items():
                ratio = row["predicted"] / row["measured"]
                print(f"  {name:<16} predicted {row['predicted']:5.2f}  measured {row['measured']:5.2f}  {ratio:5.2f}")
    error = typical([row["predicted"] / row["measured"] for cell in cells.values() for row in cell.values()])
    print(f"\ntypical error of a speed-up: {error:.1%}")
    said = {"fitted_error": fitted.error, "error": error, "calibrated": fitted.machine.facts(), "cells": cells}
    print(f"results: {save({'machine': facts, **said}, __file__, chosen)}")
