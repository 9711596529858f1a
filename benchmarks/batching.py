"""What does company cost, and does it change a word?

    python benchmarks/batching.py [--widen 0.4B] [--threads 2] [--requests 64] [--quick]

house:target, continuous batching, greedy. First: tokens/s of plain decoding and of the house draft (fixed depth, and
the policy cost-aware, which may guess nothing) at batches of 1 to 16, alternating; prompts of 40 to 60 tokens, prefill
not in tokens/s. Then, in exact mode: requests of mixed lengths come a few at a time to a batch of 8 with a cache that
holds about half of them, join and leave at any step, and every output is compared with the same request run alone.

Left out: other models; arrival times of real users.
"""

import argparse
import random
import time
from typing import Any

import torch

from decant.apps.compose import compose, plain
from decant.apps.prompts import encode, read
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.bench.timing import alternate, ratios, spread
from decant.decoders.continuous import MEGABYTE, Continuous, Request
from decant.decoders.method import Method
from decant.decoders.stopping import Stopping
from decant.models.load import load
from decant.samplers.greedy import greedy

BATCHES = (1, 2, 4, 8, 16)
WAYS = {"plain": None, "draft-model": "fixed:depth=6", "draft-model, cost-aware": "cost-aware"}


def tokens_per_second(method: Method, prompts: list[list[int]], batch: int, tokens: int) -> float:
    """After the first step, which starts all requests."""
    crank = Continuous(method.decoder, batch=batch)
    requests = [Request(prompts[at % len(prompts)], at, Stopping(tokens)) for at in range(batch)]
    for request in requests:
        crank.add(request)
    crank.step()
    early, begun = sum(len(request.output.tokens) for request in requests), time.perf_counter()
    while crank.running:
        crank.step()
    return (sum(len(request.output.tokens) for request in requests) - early) / (time.perf_counter() - begun)


def rates(chosen: argparse.Namespace, dtype: str, widen: str | None) -> list[dict[str, Any]]:
    target = load("house:target", dtype=dtype, widen=widen, exact="off")
    draft = load("house:draft", dtype=dtype, exact="off")
    prompts = [ids[:60] for ids in encode(read("house:tasks", 16), target)]
    methods = {
        name: compose("draft-model", target, draft, greedy(), policy=policy) if policy else plain(target, greedy())
        for name, policy in WAYS.items()
    }
    found = []
    for batch in chosen.batches:
        runs = {
            name: lambda method=method, batch=batch: tokens_per_second(method, prompts, batch, chosen.max_tokens)
            for name, method in methods.items()
        }
        speeds = alternate(runs, chosen.repeat)
        found.append(
            {
                "batch": batch,
                **{
                    name: {"tokens_per_second": spread(speed), "over_plain": ratios(speed, speeds["plain"])}
                    for name, speed in speeds.items()
                },
            }
        )
        print(
            f"batch {batch:2}: "
            + ", ".join(f"{name} {spread(speed)['median']:.1f} tokens/s" for name, speed in speeds.items()),
            flush=True,
        )
    return found


def mixed(chosen: argparse.Namespace, dtype: str, widen: str | None) -> dict[str, Any]:
    target = load("house:target", dtype=dtype, widen=widen, exact="on")
    draft = load("house:draft", dtype=dtype, exact="off")
    rng, found = random.Random(0), {}
    texts = [ids for source in ("house:tasks", "house:code", "house:copy") for ids in encode(read(source), target)]
    asked = [
        (text[: rng.randint(4, 240)], seed, rng.randint(2, chosen.longest))
        for seed, text in enumerate(rng.sample(texts * (1 + chosen.requests // len(texts)), chosen.requests))
    ]
    for name in ("plain", "draft-model", "prompt-lookup", "token-recycling"):
        decoder = compose(name, target, draft, greedy()).decoder

        def requests() -> list[Request]:
            return [Request(prompt, seed, Stopping(tokens)) for prompt, seed, tokens in asked]

        alone = requests()
        begun = time.perf_counter()
        for request in alone:
            crank = Continuous(decoder, batch=1)
            crank.add(request)
            while crank.running or crank.waiting:
                crank.step()
        apart = time.perf_counter() - begun
        room = decoder.cache_bytes([request.tokens for request in alone[:8]]) / MEGABYTE / 2
        room = max(room, *(decoder.cache_bytes([request.tokens]) / MEGABYTE for request in alone))
        crank, together = Continuous(decoder, batch=8, megabytes=room), requests()
        coming, steps = list(together), 0
        begun = time.perf_counter()
        while coming or crank.running or crank.waiting:
            for _ in range(rng.randint(0, 3)):
                if coming:
                    crank.add(coming.pop(0))
            crank.step()
            steps += 1
        spent = time.perf_counter() - begun
        same = sum(a.output.tokens == b.output.tokens for a, b in zip(alone, together, strict=True))
        tokens = sum(len(request.output.tokens) for request in together)
        found[name] = {
            "requests": len(together),
            "identical": same,
            "tokens": tokens,
            "steps": steps,
            "cache_mb": round(room, 1),
            "seconds": {"alone": round(apart, 2), "together": round(spent, 2)},
        }
        print(
            f"{name}: {same} of {len(together)} requests say what they say alone; {tokens} tokens in {steps} steps, "
            f"{apart / spent:.2f}x as fast as one after another, {room:.0f} MB of cache",
            flush=True,
        )
    return found


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it")
    parser.add_argument("--dtype", default=working_dtype())
    parser.add_argument("--requests", type=int, default=64, help="of the mixed run")
    parser.add_argument("--longest", type=int, default=48, help="new tokens of a mixed request, at most")
    parser.add_argument("--max-tokens", type=int, default=32, help="of each request of the first part")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES)))
    parser.add_argument("--only", choices=("rates", "mixed"), help="one of the two parts")
    chosen = parser.parse_args()
    chosen.batches = [int(batch) for batch in chosen.batches.split(",")]
    if chosen.quick:
        chosen.widen, chosen.requests, chosen.longest, chosen.max_tokens, chosen.batches = "none", 6, 6, 24, [1, 2]
    facts = begin(chosen)
    print(heading(facts))
    widen = None if chosen.widen == "none" else chosen.widen
    report = {"machine": facts, "settings": {"widen": widen, "dtype": chosen.dtype, "repeat": chosen.repeat}}
    with torch.inference_mode():
        if chosen.only != "mixed":
            report["rates"] = rates(chosen, chosen.dtype, widen)
        if chosen.only != "rates":
            report["mixed"] = mixed(chosen, chosen.dtype, widen)
    print(f"results: {save(report, __file__, chosen)}")
