"""Does an early exit whose layer and depth follow the text beat every fixed one on a mixed set of prompts?

    python benchmarks/early_exit.py [--target DIR] [--minutes 25] [--widen 0.4B] [--dtype D] [--limit 4] [--quick]

house:target's layers were never asked to speak before the last. So the target is a folder of `decant distill layerskip`
(or sorted): the one given, else one that is taught here for so many minutes, by that command, and kept in
$DECANT_HOME/early-exit (default ~/.cache/decant). Killed, it goes on where it stopped. It is another model than
house:target, with texts of its own. Widened, it keeps its layers. Then plain decoding, an early exit at every layer and
several depths, sorted-exits and del decode the held-out house:tasks and house:code as one set, greedily, one request at
a time. `--target house:target` races it as it is.

Left out: grown layers (which compute nothing: exits between them say the same at another price), other sizes of
training, sampling, batches above 1.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench import report as tables
from decant.bench.study import begin, heading, options, save, working_dtype

SOURCES: Final = ("house:tasks", "house:code")
DEPTHS: Final = (2, 4, 6)


def trained(chosen: argparse.Namespace) -> Path:
    """The folder of house:target, taught to be left early by the command that a user would type."""
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "early-exit"
    out = home / f"{chosen.minutes:g}-minutes"
    command = [sys.executable, "-m", "decant", "distill", "layerskip", "--teacher", "house:target", "--batch", "4"]
    command += ["--data", "house:mixture", "--minutes", f"{chosen.minutes:g}", "--out", str(out)]
    command += ["--threads", str(chosen.threads)] if chosen.threads else []
    if not (out / "README.md").exists():  # the last that is written
        subprocess.run(command, check=True)
    return out


def learnt(place: str) -> dict[str, Any] | None:
    """What the folder's recipe.json says of its exits."""
    file = Path(place) / "recipe.json"
    return json.loads(file.read_text(encoding="utf-8")).get("learnt") if file.is_file() else None


def race(place: str, chosen: argparse.Namespace) -> dict[str, Any]:
    """The report of `bench` over all prompts together."""
    widen = None if chosen.widen == "none" else chosen.widen
    opening = Opening(dtype=chosen.dtype, widen=widen, layers="keep")
    target = opening.target(place)
    layers = target.model.network.config.num_hidden_layers
    fixed = [f"early-exit:exit={exit}:depth={depth}" for exit in range(1, layers) for depth in DEPTHS]
    question = Question([*fixed, "sorted-exits", "del"], "mixed", max_tokens=chosen.max_tokens)
    prompts = [prompt for source in SOURCES for prompt in read(source, chosen.limit)]
    trial = prepare(target, question, prompts, Sampling(temperature=0.0), opening)
    print(f"target: {target.facts()['parameters']:,} parameters in {chosen.dtype}; {target.exact_note}")
    return trial.race(chosen.repeat, lambda done, total, text: None)


def verdict(report: dict[str, Any]) -> dict[str, dict]:
    """What was aimed at, what was reached."""
    speeds = {row["name"]: row["tokens_per_second"]["median"] for row in report["methods"]}
    best = max((name for name in speeds if name.startswith("early-exit")), key=speeds.__getitem__)
    aims = {f"del over the best fixed exit ({best})": speeds["del"] / speeds[best]}
    aims["del over plain decoding"] = speeds["del"] / speeds["plain"]
    return {name: {"reached": got, "wanted": 1.0, "met": got >= 1.0} for name, got in aims.items()}


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=3)
    parser.add_argument("--target", help="a folder that was taught already, or house:target")
    parser.add_argument("--minutes", type=float, default=25, help="of teaching, where no --target is given")
    parser.add_argument("--widen", default="0.4B", help="size of the target; 'none' leaves it as it is")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--limit", type=int, default=4, help="prompts of each kind")
    parser.add_argument("--max-tokens", type=int, default=96)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.widen, chosen.limit, chosen.max_tokens = 0.1, "none", 1, 8
    return chosen


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    place = chosen.target or str(trained(chosen))
    said = learnt(place)
    for when in ("nats_before", "nats"):
        if said is not None:
            print(f"{when.replace('_', ' ')}, a token, by exit: {', '.join(f'{one:.2f}' for one in said[when])}")
    report = race(place, chosen)
    print(f"\n{tables.text(tables.rows(report))}\n")
    for name, aim in verdict(report).items():
        print(f"{'met   ' if aim['met'] else 'MISSED'}  {name}: {aim['reached']:.2f} (wanted {aim['wanted']})")
    results = {"machine": facts, "target": place, "learnt": said, "report": report, "targets": verdict(report)}
    print(f"results: {save(results, __file__, chosen)}")
