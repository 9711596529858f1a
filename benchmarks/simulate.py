"""Does the cost model say what a machine will do with a model that it has not measured there?

    python benchmarks/simulate.py [--small 0.1B] [--large 0.4B] [--dtype D] [--threads 2] [--quick]

The machine is this one, and the cost model gets no more than it would of another: the passes of house:target widened to
--small, from which its numbers are fitted (`tune/calibrate.py`), and which guesses stand. It predicts the passes of the
same model widened to --large, and the speed-up of every method on it; what a level of guessing takes beside its pass is
from the first chain of the draft model on the small one. Both are then measured. A table of predicted over
measured, the typical error, and the rank correlation of the methods.

Left out: other kinds of machines (no vendor's peak enters here, so what is presumed in the shipped files is untested),
batches above 1 in the race, and models whose texts differ by size: a widened one says the same.
"""

import argparse
import math
from dataclasses import replace
from typing import Any

from decant.apps.guessing import Guesser, heads_of
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.simulating import Asked, probed, simulate
from decant.apps.sizes import shapes_of
from decant.apps.trial import Question, Trial, prepare
from decant.bench import costs
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.tune.calibrate import Fitted, calibrated, compare, measured, with_levels
from decant.tune.hardware import Hardware
from decant.tune.shape import Shape

METHODS = (
    *("draft-model:depth=2", "draft-model:depth=5", "draft-model:depth=8", "draft-tree", "prompt-lookup", "suffix"),
    *("token-recycling", "eagle3", "glide", "medusa", "jacobi", "lookahead"),
)
CONTEXTS = (256, 1024)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=3)
    parser.add_argument("--small", default="0.1B", help="size at which the machine is calibrated")
    parser.add_argument("--large", default="0.4B", help="size that is predicted, and measured")
    parser.add_argument("--batches", default="1,4", help="of the passes, with commas between")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--source", default="house:tasks", help="prompts")
    parser.add_argument("--limit", type=int, default=8, help="prompts of the race")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--methods", default=",".join(METHODS), help="with commas between")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.small, chosen.large, chosen.limit, chosen.max_tokens = "10M", "20M", 2, 12
        chosen.methods, chosen.batches = "draft-model:depth=2,prompt-lookup", "1"
    return chosen


def typical(ratios: list[float]) -> float:
    """The typical miss of predicted over measured: 0.1 is ten per cent."""
    return math.exp(math.sqrt(sum(math.log(ratio) ** 2 for ratio in ratios) / len(ratios))) - 1


def rank_correlation(one: list[float], other: list[float]) -> float | None:
    """Spearman's, of values without ties; None of fewer than three."""
    if len(one) < 3:
        return None
    ranks = [[sorted(values).index(value) for value in values] for values in (one, other)]
    apart = sum((a - b) ** 2 for a, b in zip(*ranks, strict=True))
    return 1 - 6 * apart / (len(one) * (len(one) ** 2 - 1))


def trial_of(size: str, chosen: argparse.Namespace) -> tuple[Trial, Shape, Shape | None]:
    """house:target at a size, with its prompts and methods. Out of exact mode, which fills rows up."""
    opening = Opening(dtype=chosen.dtype, widen=size, exact="off")
    question = Question(chosen.methods.split(","), chosen.source, max_tokens=chosen.max_tokens)
    asked = read(chosen.source, chosen.limit)
    trial = prepare("house:target", question, asked, Sampling(temperature=0.0), opening)
    return trial, *shapes_of("house:target", None, opening)


def passes_of(trial: Trial, chosen: argparse.Namespace) -> dict[str, Any]:
    """The report of bench --costs."""
    contexts, tokens = ((64,), (1, 2, 4, 8, 16, 32)) if chosen.quick else (CONTEXTS, costs.TOKENS)
    batches = [int(one) for one in chosen.batches.split(",")]
    return costs.run(trial.target, costs.Grid(contexts, batches, tokens, chosen.repeat))


def show_passes(fitted: Fitted, ratios: list[float], report: dict[str, Any]) -> None:
    machine = fitted.machine
    print(f"calibrated: {machine.bandwidth_gb_s:.1f} GB/s, {1e3 * sum(machine.tflops.values()):.0f} GFLOP/s,", end=" ")
    print(f"{machine.launch_us:.0f} us a layer, {machine.request_us:.0f} us a layer and request,", end=" ")
    print(f"attention at {machine.attention_efficiency:.2f}, overlap {machine.overlap:.2f}")
    print(f"passes of the small model, fitted: typical error {fitted.error:.1%}")
    print(f"passes of the large model, predicted: typical error {typical(ratios):.1%}")
    for one, ratio in zip(measured(report), ratios, strict=True):
        load = one.load
        where = f"batch {load.batch}, context {load.context:5}, {load.rows:3} rows each"
        print(f"  {where} {1e3 * ratio * one.seconds:9.2f} ms predicted {1e3 * one.seconds:9.2f} measured {ratio:6.2f}")


def predicted(machine: Hardware, small: Trial, large: tuple[Shape, Shape | None], context: int) -> dict[str, float]:
    """Speed-ups on the large model, of guesses that were seen on the small one."""
    known = probed(small)
    machine, draft = replace(machine, step_us=1e6 * known.crank), large[1]
    chains = [one for one in known.methods if one.method.startswith("draft-model")]
    if draft is not None and chains:
        machine = with_levels(machine, draft, chains[0].profile, context)
    guesser = Guesser(*large, heads_of("house:target"), context)
    ranking = simulate(Asked(*large, [machine], (1,), context), known, guesser)["machines"][0]["batches"][0]
    for name, why in ranking["skipped"]:
        print(f"  {name} was not predicted: {why}")
    return {row["name"]: row["speedup"] for row in ranking["methods"]}


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    small, shape, _ = trial_of(chosen.small, chosen)
    fitted = calibrated(passes_of(small, chosen), shape)
    large, *shapes = trial_of(chosen.large, chosen)
    context = sum(map(len, large.workload.prompts)) // len(large.workload.prompts) + chosen.max_tokens // 2
    foretold = predicted(fitted.machine, small, (shapes[0], shapes[1]), context)
    report = passes_of(large, chosen)
    ratios = list(compare(fitted.machine, shapes[0], report))
    show_passes(fitted, ratios, report)
    race = large.race(chosen.repeat, lambda done, total, text: None)
    found = {row["name"]: row["speedup"] for row in race["methods"] if row["skipped"] is None}
    names = sorted((name for name in found if name in foretold), key=lambda name: -found[name]["median"])
    print(f"\nspeed-ups on the large model, context {context}")
    for name in names:
        seen, said = found[name], foretold[name]
        spread = f"({seen['low']:.2f} to {seen['high']:.2f})"
        print(
            f"  {name:<24} predicted {said:5.2f}  measured {seen['median']:5.2f} {spread}  {said / seen['median']:5.2f}"
        )
    drafted = [name for name in names if name != "plain"]
    errors = [foretold[name] / found[name]["median"] for name in drafted]
    rank = rank_correlation([foretold[name] for name in names], [found[name]["median"] for name in names])
    best = max(names, key=lambda name: foretold[name])
    lost = 1 - found[best]["median"] / max(found[name]["median"] for name in names)
    print(f"typical error {typical(errors):.1%}, rank correlation {rank if rank is None else round(rank, 3)}")
    print(f"predicted best: {best}, {lost:.1%} slower than the measured best")
    summary = {
        "passes": {"fitted_error": fitted.error, "predicted_error": typical(ratios)},
        "methods": {name: {"predicted": foretold[name], "measured": found[name]} for name in names},
        "error": typical(errors),
        "rank_correlation": rank,
        "best": {"predicted": best, "lost": lost},
    }
    machine = fitted.machine.facts()
    file = save(
        {"machine": facts, "summary": summary, "calibrated": machine, "costs": report, "race": race}, __file__, chosen
    )
    print(f"results: {file}")
