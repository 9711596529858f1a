"""How far from the best of all methods is what `decant tune` chooses in ten minutes, and does it see a useless draft?

    python benchmarks/tune_regret.py [--widen 0.4B] [--budget 600] [--dtype D] [--threads 2] [--quick]

house:target is widened to the size of a real model (it says the same, and costs what that size costs) and tuned with
house:draft. Then every candidate that the tuning could compose, variants of knobs included, is raced against plain
decoding over all prompts, `--repeat` times, in turns, whatever the tuning thought of it. Regret is how much slower the
plan's choice is in that sweep than the best of the sweep; the best is flattered a little, being the best of many.
Last, a draft with the sizes and the tokenizer of house:draft and random weights: the answer should be "off".

Left out: batches above 1, sampling, other machines.
"""

import argparse
import math
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from decant.apps import tuning
from decant.apps.candidates import composed
from decant.apps.catalog import METHODS
from decant.apps.deciding import tune
from decant.apps.desk import Asked, opened
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.house import HOME
from decant.models.load import Loaded
from decant.tune.interval import interval
from decant.tune.lanes import Lanes
from decant.tune.plan import Choice

WANTED = 0.05
DRAFTED = [name for name, recipe in METHODS.items() if recipe.drafter == "draft-model"]


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=2)
    parser.add_argument("--widen", default="0.4B", help="size of the target; 'none' leaves it as it is")
    parser.add_argument("--budget", type=float, default=600, help="seconds of the tuning")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--source", default="house:tasks", help="prompts")
    parser.add_argument("--limit", type=int, default=12, help="prompts, at most")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--methods", default="all", help="names with commas between, in place of all")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.budget, chosen.limit, chosen.max_tokens = "none", 5.0, 3, 8
        chosen.methods = "prompt-lookup,draft-model"
    return chosen


def question(chosen: argparse.Namespace, out: Path, **others: Any) -> Asked:
    """What is tuned for. The sweep asks the same."""
    names = "all" if chosen.methods == "all" else chosen.methods.split(",")
    prompts = read(chosen.source, chosen.limit)
    given = {"methods": names, "max_tokens": chosen.max_tokens, **others}
    return Asked(chosen.source, prompts, out, chosen.budget, **given)


def tuned(target: Loaded, asked: Asked, opening: Opening) -> tuple[Choice, float]:
    """The choice, and the seconds that it took."""
    began = time.monotonic()
    return tune(target, asked, opening).plan.choices[0], time.monotonic() - began


def swept(target: Loaded, asked: Asked, opening: Opening, repeat: int) -> dict[str, Any]:
    """Speed over plain decoding of every candidate, over all prompts, each `repeat` times."""
    desk = opened(target, asked, opening)  # the tuning's own notebook: its candidates, variants included
    there = tuning.probed(desk, asked.temperatures[0], tuning.priced(desk))
    methods = {"plain": there.plain}
    for name, one in there.candidates.items():
        if not (there.refused.get(name) or "").startswith("it promises neither"):
            try:
                methods[name] = composed(one, desk.there, there.chosen)
            except ValueError:
                continue
    lanes = Lanes(methods, desk.workload(1), asked.objective, {}, lambda: None)
    left_out = lanes.refused()
    names = [name for name in methods if name not in left_out]
    scores: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeat * len(lanes.groups)):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            scores[name].append(math.log(lanes.measure(name, turn).score))
        print(f"  sweep: turn {turn + 1} of {repeat * len(lanes.groups)}", flush=True)
    gains = {
        name: interval([plain - mine for plain, mine in zip(scores["plain"], logs, strict=True)])
        for name, logs in scores.items()
        if name != "plain"
    }
    return {"gains": {name: gain.ratio() for name, gain in gains.items()}, "left_out": left_out}


def useless(folder: Path) -> Path:
    """house:draft with weights of chance."""
    shutil.copytree(HOME / "draft", folder)
    rng = torch.Generator().manual_seed(0)
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        for name, weight in weights.items():
            if weight.dim() > 1:
                weights[name] = (0.02 * torch.randn(weight.shape, generator=rng)).to(weight.dtype)
        save_file(weights, file, metadata={"format": "pt"})
    return folder


def spelt(choice: Choice) -> str:
    """As the sweep names it."""
    said = {"--draft": choice.draft, "--verifier": choice.verifier, "--policy": choice.policy}
    return " ".join([choice.method, *(f"{name} {value}" for name, value in said.items() if value is not None)])


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    opening = Opening(dtype=chosen.dtype, widen=None if chosen.widen == "none" else chosen.widen)
    target = opening.target("house:target")
    print(f"target: {target.facts()['parameters']:,} parameters in {chosen.dtype}; {target.exact_note}")
    with tempfile.TemporaryDirectory() as place:
        asked = question(chosen, Path(place) / "tuned")
        choice, seconds = tuned(target, asked, opening)
        print(f"tune: {spelt(choice)} {choice.speedup or ''} in {seconds:.0f} s; {choice.why}", flush=True)
        sweep = swept(target, asked, opening, chosen.repeat)
        folder = useless(Path(place) / "useless")
        names = DRAFTED[:1] if chosen.quick else DRAFTED
        wrong = question(chosen, Path(place) / "off", methods=names, drafts=(str(folder),))
        off, lost = tuned(target, wrong, opening)
    gains = {"plain": 1.0, **{name: gain["median"] for name, gain in sweep["gains"].items()}}
    for name, gain in sorted(gains.items(), key=lambda one: -one[1]):
        print(f"  {name:<48}{gain:6.2f}x{'  <- the plan' if name == spelt(choice) else ''}")
    best = max(gains, key=gains.__getitem__)
    regret = 1 - gains[spelt(choice)] / gains[best]
    aims = {
        "regret": {"reached": regret, "wanted": WANTED, "met": regret <= WANTED},
        "seconds of the tuning": {"reached": seconds, "wanted": chosen.budget, "met": seconds <= chosen.budget},
        "off for a useless draft": {"reached": off.method, "wanted": "plain", "met": off.method == "plain"},
    }
    for name, aim in aims.items():
        print(f"{'met   ' if aim['met'] else 'MISSED'}  {name}: {aim['reached']} (wanted {aim['wanted']})")
    found = {"choice": spelt(choice), "why": choice.why, "best": best, **sweep, "useless": off.why, "useless_s": lost}
    print(f"results: {save({'machine': facts, 'targets': aims, **found}, __file__, chosen)}")
