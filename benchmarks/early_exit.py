"""Does an early exit whose layer and depth follow the text beat every fixed one on a mixed set of prompts?

    python benchmarks/early_exit.py [--minutes 25] [--train-only] [--widen 0.4B] [--dtype D] [--limit 4] [--quick]

house:target's layers were never asked to speak before the last, so first it is trained on with LayerSkip's loss, unless
one of as many minutes lies in $DECANT_HOME/early-exit (default ~/.cache/decant). Killed, it goes on where it stopped.
The result is another model than house:target, with texts of its own. Widened, it keeps its layers. Then plain decoding,
an early exit at every layer and several depths, sorted-exits and del decode the held-out house:tasks, house:code and
house:copy as one set, greedily, one request at a time. --untrained races house:target as it is.

Left out: grown layers (which compute nothing: exits between them say the same at another price), other sizes of
training, sampling, batches above 1.
"""

import argparse
import os
import shutil
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench import report as tables
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.distill.early_exit import LayerSkip, exit_nats
from decant.distill.trainer import Settings, train
from decant.house import build, corpus, folder
from decant.house.mixture import Mixture, Phase
from decant.models import build as models

SOURCES: Final = ("house:tasks", "house:code", "house:copy")
DEPTHS: Final = (2, 4, 6)
ROWS, LENGTH = 4, 512
STEPS_A_MINUTE: Final = 40  # of ROWS * LENGTH tokens, by one thread of a machine that is busy otherwise


def trained(minutes: float, home: Path) -> Path:
    """The model folder of house:target, trained on with an early-exit loss."""
    out = home / f"{minutes:g}-minutes"
    if (out / "target" / "config.json").exists():
        return out / "target"
    words, code = build.prepare(home / "words")
    shipped = folder("target") / "tokenizer.json"
    assert words.to_str() == type(words).from_file(str(shipped)).to_str(), "house:target has another tokenizer"
    model = models.load_folder(folder("target"))
    steps = max(round(minutes * STEPS_A_MINUTE), 4)
    mixture = Mixture(words, code, corpus.functions(held_out=False), [Phase(steps, ROWS, LENGTH)], seed=11)
    asked = LayerSkip(every=2, skipped=0.1).loss(model)

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        with models.mixed_precision(ids_BT.device):
            return asked(ids_BT, weights_BT)

    settings = Settings(steps, 7e-4, warmup=min(20, steps // 4), decay=0.5, weight_decay=0.05, save_every=50)
    train(model, loss, mixture.batch, settings, out)
    shutil.copytree(folder("target"), out / "target", ignore=shutil.ignore_patterns("*.safetensors", "*.md", "decant*"))
    models.save_folder(model, out / "target")
    return out / "target"


@torch.no_grad()
def nats_by_exit(model_folder: Path, home: Path) -> dict[str, list[float]]:
    """Nats a token of every exit on training-like text that nobody was trained on, before and after."""
    words, code = build.prepare(home / "words")
    mixture = Mixture(words, code, corpus.functions(held_out=True), [Phase(1, 8, LENGTH)], seed=12)
    ids_BT, weights_BT = mixture.batch(0)
    found = {}
    for name, place in (("house:target", folder("target")), ("trained", model_folder)):
        model = models.load_folder(place).eval()
        layers = range(1, len(model.model.layers) + 1)
        total = float(weights_BT[:, 1:].sum())
        found[name] = [float(exit_nats(model, ids_BT, weights_BT, {exit: 1.0})) / total for exit in layers]
    return found


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
    parser.add_argument("--minutes", type=float, default=25, help="of training, roughly; scales its steps")
    parser.add_argument("--train-only", action="store_true", help="stop when the model is trained")
    parser.add_argument("--untrained", action="store_true", help="house:target as it is")
    parser.add_argument("--widen", default="0.4B", help="size of the target; 'none' leaves it as it is")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--limit", type=int, default=4, help="prompts of each kind")
    parser.add_argument("--max-tokens", type=int, default=96)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.widen, chosen.limit, chosen.max_tokens = 0.1, "none", 1, 12
    return chosen


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "early-exit"
    place = "house:target" if chosen.untrained else str(trained(chosen.minutes, home))
    nats = None if chosen.untrained else nats_by_exit(Path(place), home)
    for name, row in (nats or {}).items():
        print(f"nats a token by exit, {name}: {', '.join(f'{value:.2f}' for value in row)}")
    if not chosen.train_only:
        report = race(place, chosen)
        print(f"\n{tables.text(tables.rows(report))}\n")
        for name, aim in verdict(report).items():
            print(f"{'met   ' if aim['met'] else 'MISSED'}  {name}: {aim['reached']:.2f} (wanted {aim['wanted']})")
        results = {"machine": facts, "nats": nats, "report": report, "targets": verdict(report)}
        print(f"results: {save(results, __file__, chosen)}")
