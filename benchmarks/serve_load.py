"""Does a server hold under load, and what does HTTP cost?

    python benchmarks/serve_load.py [--clients 64] [--minutes 5] [--widen 0.4B] [--batch 16] [--threads 2] [--quick]

`decant serve house:target --draft house:draft` as a process of its own, on loopback. Each client streams one completion
after another (house:tasks, 8 to --max-tokens new tokens, temperature 0.8); a quarter of them go away in the midst of
each answer. Reported: answers by status, errors other than the declared 429, growth of the server's resident memory
from the end of the warm-up (a fifth of the time) to the end, time to the first token, and tokens/s (those of cancelled
answers too) over what the engine alone does with the same requests, batch and threads, before and behind the load.

Left out: networks; long shared beginnings of prompts; clients elsewhere: here they take from the same cores.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import torch

from decant.apps.opening import Opening
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.apps.session import Session, open_session
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.decoders.continuous import Continuous, Request
from decant.decoders.stopping import Stopping

MODEL, DRAFT, TEMPERATURE = "house:target", "house:draft", 0.8
SHORTEST = 8  # new tokens


def alone(session: Session, chosen: argparse.Namespace) -> float:
    """Tokens/s of the engine by itself, once the batch is full, until the line is empty."""
    rng, crank = random.Random(1), Continuous(session.method.decoder, batch=chosen.batch)
    ends = [Stopping(rng.randint(SHORTEST, chosen.max_tokens), session.target.ends) for _ in range(4 * chosen.batch)]
    requests = [Request(rng.choice(chosen.prompts), seed, stopping) for seed, stopping in enumerate(ends)]
    for request in requests:
        crank.add(request)
    crank.step()
    begun, early = time.perf_counter(), sum(len(request.output.tokens) for request in requests)
    while crank.waiting:  # behind that the batch runs empty, which a line of clients never lets it
        crank.step()
    return (sum(len(request.output.tokens) for request in requests) - early) / (time.perf_counter() - begun)


@contextlib.contextmanager
def server(chosen: argparse.Namespace, widen: str | None):
    where = Path(tempfile.mkdtemp()) / "where.json"
    words = f"--draft {DRAFT} --port 0 --dtype {chosen.dtype} --batch {chosen.batch} --queue {chosen.clients // 2}"
    more = {"widen": widen, "threads": chosen.threads, "grace": 5}
    words += " --quiet" + "".join(f" --{name} {value}" for name, value in more.items() if value)
    served = subprocess.Popen([sys.executable, "-m", "decant", "serve", MODEL, *words.split(), "--json", str(where)])
    try:
        while not (where.exists() and where.read_text().endswith("}\n")):
            assert served.poll() is None, "decant serve ended"
            time.sleep(0.2)
        yield served, json.loads(where.read_text())["url"]
    finally:
        served.terminate()
        served.wait(60)


async def client(number: int, url: str, chosen: argparse.Namespace, told: dict[str, Any], end: float) -> None:
    """One answer after another; every fourth client leaves each of them somewhere."""
    rng = random.Random(number)
    async with httpx.AsyncClient(timeout=120) as http:
        while time.monotonic() < end:
            body = {"model": MODEL, "prompt": rng.choice(chosen.prompts), "stream": True, "temperature": TEMPERATURE}
            body |= {"max_tokens": rng.randint(SHORTEST, chosen.max_tokens), "seed": rng.randrange(2**31)}
            leave, begun, chunks = rng.randint(1, 8) if number % 4 == 0 else None, time.monotonic(), 0
            try:
                async with http.stream("POST", f"{url}/completions", json=body) as reply:
                    async for line in reply.aiter_lines():
                        chunks += line.startswith("data: {")
                        if chunks == 1 and line.startswith("data: {"):
                            told["ttft"].append(time.monotonic() - begun)
                        if '"error"' in line and reply.status_code == 200:
                            told["errors"].append(line[:200])
                        if chunks == leave:
                            break
                told["statuses"]["left" if chunks == leave else reply.status_code] += 1
                await asyncio.sleep(min(float(reply.headers.get("retry-after", 0)), 1.0))
            except httpx.HTTPError as error:
                told["errors"].append(repr(error)[:200])


async def load(served: Any, url: str, chosen: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {"statuses": Counter(), "errors": [], "ttft": []}
    begun, seconds, memory, before, at = time.monotonic(), 60 * chosen.minutes, [], 0.0, 0.0
    clients = asyncio.gather(*(client(at, url, chosen, told, begun + seconds) for at in range(chosen.clients)))
    async with httpx.AsyncClient(timeout=60) as http:
        while time.monotonic() < begun + seconds:
            await asyncio.sleep(min(1.0, seconds / 20))
            memory.append((time.monotonic() - begun, resident(served.pid)))
            if not at and memory[-1][0] > seconds / 5:
                before, at = await tokens(http, url), time.monotonic()
        rate = (await tokens(http, url) - before) / (time.monotonic() - at)
    await clients
    warm = [size for when, size in memory if seconds / 5 <= when <= seconds * 2 / 5] or [memory[0][1]]
    late = [size for when, size in memory if when >= seconds * 4 / 5] or [memory[-1][1]]
    codes = {str(code): count for code, count in told["statuses"].items()}
    faults = len(told["errors"]) + sum(count for code, count in codes.items() if code not in {"200", "429", "left"})
    ttft = sorted(told["ttft"])
    return {
        "answers": codes, "errors": faults, "messages": told["errors"][:5], "tokens_per_second": rate,
        "memory_mb": {"warm": statistics.median(warm), "late": statistics.median(late)},
        "memory_growth": statistics.median(late) / statistics.median(warm) - 1,
        "ttft_seconds": {"median": ttft[len(ttft) // 2], "p95": ttft[int(0.95 * len(ttft))]},
    }  # fmt: skip


async def tokens(http: httpx.AsyncClient, url: str) -> float:
    lines = (await http.get(url.replace("/v1", "/metrics"))).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("decant_generated_tokens_total"))


def resident(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it")
    parser.add_argument("--dtype", default=working_dtype())
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=16, help="texts that run at a time")
    parser.add_argument("--max-tokens", type=int, default=64, help="new tokens of an answer, at most")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.clients, chosen.minutes, chosen.batch, chosen.max_tokens = "none", 8, 0.4, 4, 12
    facts, widen = begin(chosen), None if chosen.widen == "none" else chosen.widen
    print(heading(facts))
    opening = Opening(chosen.dtype, exact="on", widen=widen)
    session = open_session(MODEL, DRAFT, Sampling(TEMPERATURE), opening, method="draft-model")
    chosen.prompts = encode(read("house:tasks", 32), session.target)
    with torch.inference_mode():
        first = alone(session, chosen)
    with server(chosen, widen) as (served, url):
        found = asyncio.run(load(served, url, chosen))
    with torch.inference_mode():
        own = statistics.mean([first, alone(session, chosen)])
    found |= {"engine_tokens_per_second": own, "over_engine": found["tokens_per_second"] / own}
    print(f"answers {found['answers']}, {found['errors']} errors {found['messages']}")
    print(f"{found['tokens_per_second']:.1f} tokens/s, {found['over_engine']:.2f} of the engine's own {own:.1f}")
    print(f"memory {found['memory_growth']:+.1%} after the warm-up; first token {found['ttft_seconds']} s")
    settings = {name: value for name, value in vars(chosen).items() if name not in {"json", "prompts"}}
    save({"machine": facts, "settings": settings, "load": found}, __file__, chosen)
