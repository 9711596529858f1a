"""How much quality do the lossy decoders of two models give up for how much speed?

    python benchmarks/frontier.py [--widen 0.4B] [--dtype D] [--router DIR] [--threads 2] [--quick]

EAD, BiLD and R2R over their knobs, greedily on house:tasks, one request at a time, beside the two models alone and the
exact draft-model. Quality: replies that are the task's answer to the letter, and replies that are the target's. Cost:
tokens a second after prefill, all taking turns, and the target's share of the tokens. house:target is widened to the
size of a real model (it says the same, and costs what that size costs). R2R's router is taught here, on questions that
training drew, unless --router names one: its labels come from the strict judge, not from a large language model.

Left out: real pairs, whose small model fails more often and whose sentences part more softly; sampling; batches above
1; the time that labels and the router took to make (the router's own time in decoding counts).
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from statistics import fmean

import torch

from decant import house
from decant.apps.compose import compose, plain
from decant.apps.opening import Opening
from decant.bench.clock import timed
from decant.bench.ledger import Ledger
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.bench.timing import alternate, ratios, spread
from decant.constraints.unconstrained import Unconstrained
from decant.decoders.method import Method
from decant.decoders.r2r import R2R
from decant.decoders.stopping import Stopping
from decant.decoders.workload import Workload
from decant.distill.answers import Writing, write
from decant.distill.router import Labelling, RouterCourse, teach
from decant.house import tasks
from decant.models import router
from decant.models.load import Loaded
from decant.protocols import AnyDecoder
from decant.samplers.greedy import greedy

LONGEST = 288  # tokens of a reply
KNOBS = {
    "ead:window=3:dwell=3:threshold": (0.05, 0.1, 0.2, 0.4, 0.8),
    "bild:rollback=3:fallback": (0.5, 0.7, 0.9, 0.97),
    "bild:fallback=0.7:rollback": (0.5, 1.0, 5.0),
}
SHARES = (None, 0.1, 0.3, 0.7, 0.9)  # thresholds of R2R; None: the router's own


def questions(limit: int | None) -> list[dict]:
    """Held-out ones, with their answers."""
    lines = house.prompts("house:tasks").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines][:limit]


def taught(target: Loaded, small: Loaded, chosen: argparse.Namespace, folder: Path) -> router.RouterNet:
    """A router for this pair, or the one that was given."""
    if chosen.router:
        return router.read(Path(chosen.router))
    rng = random.Random("frontier")
    drawn = [tasks.draw_any(rng).prompt for _ in range(chosen.taught)]
    asked = [target.encode_chat([{"role": "user", "content": prompt}]) for prompt in drawn]
    decoder = plain(target, greedy()).decoder
    answers = write(decoder, asked, folder / "answers.jsonl", Writing(Stopping(chosen.max_tokens, target.ends)))
    examples = Labelling(decoder, target.decode, target.ends).examples(small.model, answers)
    course = RouterCourse(epochs=chosen.epochs, rate=1e-3, batch=256, held_out=0.2)
    print(f"router: {len(examples):,} tokens, {int(examples.elsewhere_N.sum()):,} lead elsewhere", flush=True)
    return teach(small.model, examples, course, folder / "training", blocks=2)


def racing(target: Loaded, small: Loaded, net: router.RouterNet) -> dict[str, AnyDecoder]:
    """Every decoder by the name that results give it."""
    specs = ["draft-model", *(f"{knob}={value}" for knob, values in KNOBS.items() for value in values)]
    methods: list[Method] = [plain(target, greedy()), *(compose(spec, target, small, greedy()) for spec in specs)]
    found: dict[str, AnyDecoder] = {method.name: method.decoder for method in methods}
    bound = router.ready(net, small.model)
    found["the small model alone"] = plain(small, greedy()).decoder
    for share in SHARES:
        name = f"r2r:threshold={bound.threshold:.3f} (its own)" if share is None else f"r2r:threshold={share}"
        found[name] = R2R(target.model, small.model, bound, greedy(), Unconstrained(), share)
    return found


def lap(decoder: AnyDecoder, work: Workload, said: list[list[int]], guessed: list[int]) -> float:
    """Tokens a second after prefill; leaves what was said, and how much of it the small model had guessed."""
    ledger = Ledger(torch.device(work.device))
    begin, outputs = ledger.now(), [one for _, some in work.decode(timed(decoder, ledger)) for one in some]
    seconds = ledger.now() - begin - ledger.prefill
    said[:] = [output.tokens for output in outputs]
    guessed[:] = [sum(output.drafted) for output in outputs]
    return sum(map(len, said)) / seconds


def frontier(target: Loaded, small: Loaded, net: router.RouterNet, chosen: argparse.Namespace) -> list[dict]:
    """A row of every decoder."""
    rows = questions(chosen.limit)
    prompts = [target.encode_chat(row["messages"]) for row in rows]
    work = Workload(prompts, chosen.max_tokens, ends=target.ends, device=target.model.network.device)
    decoders = racing(target, small, net)
    said: dict[str, list[list[int]]] = {name: [] for name in decoders}
    guessed: dict[str, list[int]] = {name: [] for name in decoders}
    laps = {
        name: lambda name=name: lap(decoders[name], work, said[name], guessed[name])  # type: ignore[misc]
        for name in decoders
    }
    speeds = alternate(laps, chosen.repeat)
    found = []
    for name in decoders:
        tokens = sum(map(len, said[name]))
        replies = [target.decode(ids).strip() for ids in said[name]]
        found.append(
            {
                "name": name,
                "right": fmean(reply == row["answer"].strip() for reply, row in zip(replies, rows, strict=True)),
                "as_the_target": fmean(a == b for a, b in zip(said[name], said["plain"], strict=True)),
                "guessed": sum(guessed[name]) / tokens,
                "tokens": tokens,
                "tokens_per_second": spread(speeds[name]),
                "to_plain": ratios(speeds[name], speeds["plain"]),
            }
        )
    return found


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the target; 'none' leaves it as it is")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--limit", type=int, help="questions (default: all)")
    parser.add_argument("--max-tokens", type=int, default=LONGEST)
    parser.add_argument("--router", help="the folder of a router for this pair")
    parser.add_argument("--taught", type=int, default=400, help="questions that the router learns from")
    parser.add_argument("--epochs", type=int, default=20)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens, chosen.taught, chosen.epochs = "none", 3, 24, 12, 1
    return chosen


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    narrow, small = Opening(dtype=chosen.dtype, exact="off").pair("house:target", "house:draft", ["draft-model"])
    assert small is not None
    with tempfile.TemporaryDirectory() as folder:
        net = taught(narrow, small, chosen, Path(folder))
    wide = None if chosen.widen == "none" else chosen.widen
    target = narrow if wide is None else Opening(dtype=chosen.dtype, exact="off", widen=wide).target("house:target")
    found = frontier(target, small, net, chosen)
    for row in found:
        rate, ratio = row["tokens_per_second"]["median"], row["to_plain"]["median"]
        quality = f"{row['right']:.1%} right, {row['as_the_target']:.1%} the target's"
        print(f"{row['name']:34} {quality}, {rate:.1f} tokens/s ({ratio:.2f}), {row['guessed']:.0%} guessed")
    report = {"machine": facts, "target": target.facts(), "small": small.facts(), "router": net.spec.threshold}
    print(f"results: {save({**report, 'rows': found}, __file__, chosen)}")
