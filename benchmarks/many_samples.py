"""What do n samples of one prompt cost beside one?

    python benchmarks/many_samples.py [--widen 0.4B] [--dtype D] [--threads 2] [--samples 1,4,16] [--quick]

house:target widened to the size of a real model, one prompt of house:code (at most 256 tokens) at temperature 1. Every
sample says --max-tokens tokens, its end ignored, so that the work is the same in every cell; the time includes reading
the prompt. Three ways, alternating, of which the first is what `decant samples` does: one batch from one reading of the
prompt (many); requests of the same seeds that each read it (apart); one sample after another (one by one). Beside the
seconds: target calls (one of them reads the prompt) and rows. Then, with real ends on held-out tasks, what stopping at
the first finished sample saves.

Left out: memory (every sample has a copy of the prompt's keys and values); speculation, unless --method names one.
"""

import argparse
import time
from typing import Any

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.bench.timing import alternate, ratios, spread
from decant.decoders.continuous import Continuous, Request
from decant.decoders.generate import Turn
from decant.decoders.many import Enough, everything, first_finish, many, seeds_of
from decant.decoders.stopping import Stopping
from decant.models.load import Loaded, load
from decant.protocols import AnyDecoder

WANTED = 4.0  # times one sample, for 16


def drawn(decoder: AnyDecoder, prompt: list[int], count: int, stop: Stopping, enough: Enough = everything) -> Turn:
    *_, last = many(decoder, prompt, seeds_of(0, count), stop, enough=enough)
    return last


def counted(prompt: list[int], turn: Turn) -> dict[str, int]:
    """Of plain decoding: a row a token, and the prompt's once."""
    tokens = sum(len(output.tokens) for output in turn.outputs)
    return {"target_calls": 1 + turn.steps, "rows": len(prompt) - 1 + tokens, "tokens": tokens}


def seconds_of_many(decoder: AnyDecoder, prompt: list[int], count: int, stop: Stopping) -> float:
    begun = time.perf_counter()
    drawn(decoder, prompt, count, stop)
    return time.perf_counter() - begun


def seconds_apart(decoder: AnyDecoder, prompt: list[int], count: int, stop: Stopping, batch: int) -> float:
    """Requests of a prompt each: `batch` at a time."""
    crank = Continuous(decoder, batch=batch)
    begun = time.perf_counter()
    for seed in seeds_of(0, count):
        crank.add(Request(prompt, seed, stop))
    while crank.running or crank.waiting:
        crank.step()
    return time.perf_counter() - begun


def sweep(decoder: AnyDecoder, prompt: list[int], chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Every count beside one sample of the same repeat."""
    stop = Stopping(chosen.max_tokens)
    runs = {"one": lambda: seconds_of_many(decoder, prompt, 1, stop)}
    for n in chosen.counts:
        runs[f"many {n}"] = lambda n=n: seconds_of_many(decoder, prompt, n, stop)
        runs[f"apart {n}"] = lambda n=n: seconds_apart(decoder, prompt, n, stop, n)
        runs[f"one by one {n}"] = lambda n=n: seconds_apart(decoder, prompt, n, stop, 1)
    spent = alternate(runs, chosen.repeat)
    rows = []
    for n in chosen.counts:
        row: dict[str, Any] = {"n": n, **counted(prompt, drawn(decoder, prompt, n, stop))}
        for way in ("many", "apart", "one by one"):
            times = spent[f"{way} {n}"]
            row[way] = {"seconds": spread(times), "times_one": ratios(times, spent["one"])}
        rows.append(row)
        said = ", ".join(f"{way} {row[way]['times_one']['median']:.2f}" for way in ("many", "apart", "one by one"))
        print(
            f"n = {n:2}: times the cost of one sample: {said}; {row['target_calls']} calls, {row['rows']} rows",
            flush=True,
        )
    return rows


def first(decoder: AnyDecoder, target: Loaded, chosen: argparse.Namespace) -> dict[str, Any]:
    """Calls and rows of a whole search and of one that ends with the first sample, over some tasks."""
    prompts, n = encode(read("house:tasks", chosen.tasks), target), max(chosen.counts)
    stop = Stopping(chosen.longest, target.ends)
    found = {}
    for name, count, enough in (("one", 1, everything), ("all", n, everything), ("first", n, first_finish())):
        each = [counted(prompt, drawn(decoder, prompt, count, stop, enough)) for prompt in prompts]
        found[name] = {key: sum(one[key] for one in each) for key in each[0]}
        print(f"{len(prompts)} tasks, {count} samples, {name}: {found[name]}", flush=True)
    return {"samples": n, "prompts": len(prompts), **found}


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it")
    parser.add_argument("--dtype", default=working_dtype())
    parser.add_argument("--method", default="plain", help="rows are counted as plain decoding's in any case")
    parser.add_argument("--samples", default="1,4,16")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt, at most")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--tasks", type=int, default=12, help="of the first-finish part")
    parser.add_argument("--longest", type=int, default=160, help="tokens of their answers, at most")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.samples, chosen.prompt, chosen.max_tokens = "none", "1,2", 24, 4
        chosen.tasks, chosen.longest = 1, 8
    chosen.counts = [int(count) for count in chosen.samples.split(",")]
    facts = begin(chosen)
    print(heading(facts))
    widen = None if chosen.widen == "none" else chosen.widen
    target = load("house:target", dtype=chosen.dtype, widen=widen, exact="off")
    decoder = compose(chosen.method, target, None, warp_of(Sampling(temperature=1.0))).decoder
    prompt = encode(read("house:code", 1), target)[0][: chosen.prompt]
    rows = sweep(decoder, prompt, chosen)
    report = {
        "machine": facts,
        "model": target.facts(),
        "settings": {
            "method": chosen.method,
            "prompt": len(prompt),
            "max_tokens": chosen.max_tokens,
            "repeat": chosen.repeat,
        },
        "sweep": rows,
        "first_finish": first(decoder, target, chosen),
    }
    last, met = rows[-1]["n"], rows[-1]["many"]["times_one"]["median"] <= WANTED
    print(f"{'met   ' if met else 'MISSED'}  {last} samples cost at most {WANTED:g} times one (aimed at for 16)")
    print(f"results: {save(report, __file__, chosen)}")
