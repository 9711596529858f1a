"""Masked diffusion: how many passes does each method save on held-out tasks, and what does it lose?

    python benchmarks/filling.py [--model house:diffusion] [--student FOLDER] [--methods SPEC,SPEC] [--each 40]

Held-out instances of every house task (edits, whose answers are long, at most of --length tokens), greedy, one request
at a time. A student (of `decant distill dparallel`) is decoded by `SURE`. Right is an exact match; passes are those
until the answer has ended; seconds are of all of them. Beside them house:target speaking token by token. A method's ids
are compared with those of one place a step, which comes first.

Left out: temperatures above 0; prompts of other kinds (`decant bench --suite parallel` has ParallelBench's).
"""

import argparse
import time
from statistics import fmean, median
from typing import Any, Final

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.prompts import chat_prompt, encode
from decant.apps.sampling import Sampling
from decant.bench.study import begin, heading, options, save
from decant.decoders.continuous import Continuous, Request, answers
from decant.decoders.stopping import Stopping
from decant.house import tasks
from decant.house.evaluate import held_out
from decant.house.tokenizer import END
from decant.models.load import Loaded, load

WARP: Final = warp_of(Sampling(temperature=0.0))
METHODS: Final = (
    *("plain", "freedave", "threshold", "threshold:tau=0.8", "factor", "entropy-bound", "entropy-threshold"),
    *("local-leap", "credit-decoding", "confident", "hierarchical", "prophet", "low-confidence:per_step=2"),
    *("margin", "entropy", "random", "threshold:tau=0.95", "threshold:block=4", "threshold:block=8", "factor:block=8"),
    *("end-of-text", "ascending", "eos-rejection", "ada-block", "remdm", "ancestral", "plain:block=1", "plain:block=4"),
)

SURE: Final = ("plain", "threshold", "threshold:tau=0.8", "threshold:tau=0.7", "entropy-threshold")


def asked(target: Loaded, each: int, length: int) -> list[tasks.Instance]:
    """Held-out instances whose answers fit the canvas."""
    found = []
    for task in tasks.GENERATORS:
        fit = (one for one in held_out(task, 4 * each) if len(target.encode(one.answer + END)) <= length)
        found += [one for one, _ in zip(fit, range(each), strict=False)]
    return found


def measured(
    method: str, target: Loaded, instances: list[tasks.Instance], chosen: argparse.Namespace
) -> dict[str, Any]:
    """Shares right, passes and seconds; tokens of each answer."""
    decoder = compose(method, target, None, WARP).decoder
    prompts = [chat_prompt([{"role": "user", "content": one.prompt}], one.task) for one in instances]
    ids = encode(prompts, target, chosen.length)
    stop = Stopping(chosen.length, target.ends)
    requests = [Request(prompt, 0, stop) for prompt in ids]
    begun = time.perf_counter()
    passes = answers(Continuous(decoder, batch=1), requests)
    seconds = time.perf_counter() - begun
    texts = [target.decode(request.output.tokens) for request in requests]
    hits = [tasks.correct(one, text) for one, text in zip(instances, texts, strict=True)]
    by_task = {
        task: fmean(hit for hit, one in zip(hits, instances, strict=True) if one.task == task)
        for task in dict.fromkeys(one.task for one in instances)
    }
    return {
        "method": method,
        "right": fmean(by_task.values()),
        "by_task": by_task,
        "passes": sum(passes),
        "seconds": seconds,
        "tokens": [request.output.tokens for request in requests],
    }


def main() -> None:
    parser = options(__doc__ or "", repeat=1)
    parser.add_argument("--model", default="house:diffusion")
    parser.add_argument("--student", help="a folder of decant distill dparallel, decoded beside the model")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--each", type=int, default=40, help="instances of a task")
    parser.add_argument("--length", type=int, default=64, help="places of an answer")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.each, chosen.methods = 1, "plain,threshold"
    facts = begin(chosen)
    print(heading(facts))
    target, speaker = load(chosen.model), load("house:target", exact="off")
    instances = asked(target, chosen.each, chosen.length)
    alone = measured("plain", speaker, instances, chosen) | {"method": "house:target, token by token"}
    rows: list[dict[str, Any]] = [alone]
    pairs = [(target, method, method) for method in chosen.methods.split(",")]
    if chosen.student:
        student = load(chosen.student)
        pairs += [(student, method, f"student, {method}") for method in SURE]
    for repeat in range(chosen.repeat):
        for model, spec, method in pairs:
            row = measured(spec, model, instances, chosen) | {"repeat": repeat, "method": method}
            rows.append(row)
            print(
                f"{method}: {100 * row['right']:.1f} % right, {row['passes']} passes, {row['seconds']:.1f} s",
                flush=True,
            )
    plain = [row for row in rows[1:] if row["method"] == "plain"]
    for row in rows:
        beside = plain[row.get("repeat", 0)]
        row["same_as_plain"] = sum(one == two for one, two in zip(row["tokens"], beside["tokens"], strict=True))
        row["fewer_passes"] = beside["passes"] / row["passes"]
        row["times_as_fast"] = beside["seconds"] / row["seconds"]
    report = []
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        first = {key: value for key, value in mine[0].items() if key not in {"tokens", "repeat", "seconds"}}
        first["times_as_fast"] = median(row["times_as_fast"] for row in mine)
        report.append(first | {"seconds": [row["seconds"] for row in mine], "questions": len(instances)})
        print(
            f"{name:34} {100 * first['right']:5.1f} % right, {first['fewer_passes']:5.2f}x fewer passes, "
            f"{first['times_as_fast']:5.2f}x as fast, {first['same_as_plain']} of {len(instances)} as plain"
        )
    settings = {"each": chosen.each, "length": chosen.length, "repeat": chosen.repeat}
    found = {"machine": facts, "model": target.facts(), "settings": settings, "methods": report}
    print(f"results: {save(found, __file__, chosen)}")


if __name__ == "__main__":
    main()
