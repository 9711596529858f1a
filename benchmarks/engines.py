"""How fast is plain decoding here beside other engines, on the same weights?

    python benchmarks/engines.py [--model house:target] [--widen 0.4B] [--only decant-bf16,llama.cpp-bf16] [--quick]

`make peers` installs the other engines. All start from one folder in Hugging Face format (bfloat16), get the same
prompt ids, decode the same number of new tokens greedily with the same number of threads, one request, and take turns;
each runs in a process of its own. Tokens/s counts the tokens after the first: the time to one token, prefill and what
a call costs, is taken off. Row names are ENGINE-WEIGHTS[-MODE]; rows with a mode are the engine's own speculation. Each
text is read again by transformers in float32: `first choice` is the share of tokens that it would have chosen too.

Left out: batches above 1; what quantised weights cost in quality beyond `first choice`; tuning of the peers' knobs.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peers.folder import write
from peers.judge import Judge
from peers.row import Row, opened
from peers.seam import Weights
from peers.table import PEERS, QUICK, rows

from decant.apps.prompts import encode, read
from decant.bench.study import begin, heading, options, save
from decant.bench.timing import alternate, spread
from decant.models.folder import HOUSE
from decant.models.load import load
from decant.models.machine import bandwidth_gb_s

PROMPT_TOKENS = 48


def compare(chosen: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    narrow = load(chosen.model, dtype="bfloat16", exact="off", device="cpu")
    prompts = [ids[:PROMPT_TOKENS] for ids in encode(read(chosen.prompts, chosen.limit), narrow)]
    widen = None if chosen.widen == "none" else chosen.widen
    folder = write(place(chosen.model), scratch / "model", widen)
    draft = place(narrow.draft) if narrow.draft else None
    weights = Weights(folder, draft, scratch, torch.get_num_threads(), PROMPT_TOKENS + chosen.max_tokens)
    running, skipped = opened(chosen.only, weights, prompts, chosen.max_tokens)
    seconds = alternate({name: row.seconds for name, row in running.items()}, chosen.repeat)
    for row in running.values():
        row.worker.close()
    judge = Judge(folder)
    found = [
        measured(name, running[name], seconds[name], judge)
        if name in running
        else {"name": name, "tokens_per_second": None, "skipped": skipped[name]}
        for name in chosen.only
    ]
    return {
        "model": {"name": chosen.model, "widen": widen, "parameters": judge.parameters},
        "settings": {"prompts": len(prompts), "new_tokens": chosen.max_tokens, "repeats": chosen.repeat},
        **floor(judge, prompts, chosen.max_tokens, found),
        "engines": found,
    }


def place(model: str) -> Path:
    return HOUSE / model.removeprefix("house:") if model.startswith("house:") else Path(model)


def measured(name: str, row: Row, seconds: list[float], judge: Judge) -> dict[str, Any]:
    tokens = len(row.prompts) * (row.new_tokens - 1)
    return {
        "name": name,
        "tokens_per_second": spread([tokens / one for one in seconds]),
        "first_token_seconds": median(row.first) / len(row.prompts),
        "versions": row.versions,
        **judge.verdict(row.prompts, row.texts),
        "skipped": None,
    }


def floor(judge: Judge, prompts: list[list[int]], new_tokens: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Of decant-bf16's time a token, the share that reading its weights and cache from memory takes at least."""
    position = sum(map(len, prompts)) / len(prompts) + new_tokens / 2
    bytes_read, bandwidth = judge.bytes_read(position), bandwidth_gb_s()
    speed = next((one["tokens_per_second"] for one in found if one["name"] == "decant-bf16"), None)
    return {
        "floor": {"bytes_per_token": round(bytes_read), "bandwidth_gb_s": round(bandwidth, 2)},
        "floor_fraction": speed and round(bytes_read / bandwidth / 1e9 * speed["median"], 4),
    }


def line(one: dict[str, Any]) -> str:
    if one["skipped"]:
        return f"{one['name']:32} skipped: {one['skipped']}"
    speed = one["tokens_per_second"]
    return (
        f"{one['name']:32} {speed['median']:7.2f} tokens/s ({speed['low']:.2f} to {speed['high']:.2f}), first token "
        f"{one['first_token_seconds']:.3f} s, first choice {one['first_choice']:.1%}, {one['versions']}"
    )


if __name__ == "__main__":
    parser = options(__doc__ or "")
    parser.add_argument("--model", default="house:target", help="house:NAME or a folder in Hugging Face format")
    parser.add_argument("--widen", default="0.4B", help="size that the model is enlarged to; 'none' leaves it")
    parser.add_argument("--prompts", default="house:code")
    parser.add_argument("--limit", type=int, default=3, help="prompts")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--only", default=",".join(rows(PEERS)), help="rows, comma-separated (default: all)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens, chosen.only = "none", 1, 8, ",".join(QUICK)
    chosen.only = chosen.only.split(",")
    if unknown := set(chosen.only) - set(rows(PEERS)):
        parser.error(f"no row is called {', '.join(sorted(unknown))}; there are {', '.join(rows(PEERS))}")
    facts = begin(chosen)
    print(heading(facts))
    with tempfile.TemporaryDirectory() as scratch:
        report = compare(chosen, Path(scratch))
    print("\n".join(map(line, report["engines"])))
    if report["floor_fraction"]:
        print(f"decant-bf16 runs at {report['floor_fraction']:.1%} of what memory allows ({report['floor']})")
    print(f"results: {save({'machine': facts, **report}, __file__, chosen)}")
