"""How much memory does a model take beside its weights and its cache?

    python benchmarks/memory.py [--widen 0.4B] [--weights auto,int8,int4] [--threads 2] [--quick]

house:target, widened and written to a folder; for each kind of weights a process of its own loads the folder, reads a
prompt of 512 tokens and decodes 32. The peak is of anonymous memory (RssAnon, looked at every 3 ms), less what the
process had after its imports: pages of the weights' files can be taken back by anybody. `resident` is all that it has
in the end, those pages included. Both are compared with the bytes of weights that a forward reads, the embedding table
where that is apart, and the cache. Above 1.0 is what loading and working needed beside them.

Left out: GPUs.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from peers.folder import write

from decant.bench.study import begin, heading, options, save
from decant.models.folder import HOUSE

CHILD = """
import json, re, sys, threading, time
import torch
from decant.apps.compose import plain
from decant.decoders.continuous import Continuous, Request
from decant.decoders.stopping import Stopping
from decant.models.load import load
from decant.samplers.greedy import greedy

folder, weights, threads, prompt, tokens = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
torch.set_num_threads(threads)
held = lambda name: 1024 * int(re.search(name + r":\\s+(\\d+)", open("/proc/self/status").read())[1])
seen = []

def watch():
    while True:
        seen.append(held("RssAnon"))
        time.sleep(0.003)

anonymous, resident = held("RssAnon"), held("VmRSS")
threading.Thread(target=watch, daemon=True).start()
target = load(folder, dtype="bfloat16", weights=weights, exact="off")
loading = max(seen)
crank = Continuous(plain(target, greedy()).decoder, batch=1)
crank.add(Request([5] * prompt, 0, Stopping(tokens)))
while crank.running or crank.waiting:
    crank.step()
network = target.model.network
table = 0 if network.config.tie_word_embeddings and weights == "auto" else network.table.nbytes
cache = network.token_bytes() * (prompt + tokens)
print(json.dumps({"weights_bytes": network.weight_bytes() + table, "cache_bytes": cache, "imports": resident,
                  "peak_loading": loading - anonymous, "peak": max(seen) - anonymous,
                  "resident": held("VmRSS") - resident}))
"""


def measured(folder: Path, weights: str, chosen) -> dict:
    command = [sys.executable, "-c", CHILD, str(folder), weights, str(chosen.threads or 2), "512", "32"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    least = found["weights_bytes"] + found["cache_bytes"]
    found |= {"peak_over": round(found["peak"] / least, 3), "resident_over": round(found["resident"] / least, 3)}
    return found


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it")
    parser.add_argument("--weights", default="auto,int8,int4")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.weights = "none", "auto"
    facts = begin(chosen)
    print(heading(facts))
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = write(HOUSE / "target", Path(scratch) / "model", None if chosen.widen == "none" else chosen.widen)
        for weights in chosen.weights.split(","):
            one = found[weights] = measured(folder, weights, chosen)
            print(
                f"{weights}: peak {one['peak'] / 1e6:.0f} MB ({one['peak_loading'] / 1e6:.0f} while loading), weights "
                f"{one['weights_bytes'] / 1e6:.0f} and cache {one['cache_bytes'] / 1e6:.0f}: {one['peak_over']:.2f}x, "
                f"resident in the end {one['resident_over']:.2f}x"
            )
    print(f"results: {save({'machine': facts, 'widen': chosen.widen, 'weights': found}, __file__, chosen)}")
