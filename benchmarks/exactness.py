"""What does exact mode cost, in each dtype?

    python benchmarks/exactness.py [--widen 0.4B] [--threads 2] [--quick]

Plain decoding of house:target with exact mode off and on, at batch 1 and 8, greedily. Exact mode keeps every forward
of a step inside one class of row counts that share bits; where the class begins above one row, plain decoding pays for
rows that nobody reads. Prefill is the same in both modes and not in tokens/s. The cost is the ratio of tokens/s, off
over on.

Left out: what drafted decoding pays, which fills rows with guesses anyway and so pays less; models of experts.
"""

from decant.apps.compose import plain
from decant.apps.prompts import encode, read
from decant.bench import run
from decant.bench.study import begin, heading, options, save
from decant.decoders.method import Method
from decant.decoders.workload import Workload
from decant.models.load import load
from decant.samplers.greedy import greedy

DTYPES = ("float32", "bfloat16")


def measure(dtype: str, widen: str | None, batch: int, chosen) -> dict:
    loaded = load("house:target", dtype=dtype, widen=widen)
    strict, loose = plain(loaded.exactly(True), greedy()), plain(loaded.exactly(False), greedy())
    rows = loaded.exactly(True).facts()["exact_rows"]
    prompts = encode(read("house:code", max(chosen.limit, batch)), loaded, chosen.max_tokens)
    work = Workload(prompts, chosen.max_tokens, batch, device=loaded.model.network.device)
    report = run(
        loaded,
        [loose, Method("plain, exact", strict.decoder, "tokens")],
        work,
        exact_plain=strict,
        repeat=chosen.repeat,
    )
    off, on = (method["tokens_per_second"] for method in report["methods"])
    gain = report["methods"][1]["speedup"]
    return {
        "model": report["model"],
        "batch": batch,
        "rows": rows,
        "auto": loaded.exact_note,
        "off": off,
        "on": on,
        "cost": {"median": 1 / gain["median"], "low": 1 / gain["high"], "high": 1 / gain["low"]},
    }


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the widened target; 'none' leaves it out")
    parser.add_argument("--limit", type=int, default=4, help="prompts")
    parser.add_argument("--max-tokens", type=int, default=64)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens = "none", 1, 6
    facts = begin(chosen)
    print(heading(facts))
    found = []
    for widen in [None] if chosen.widen == "none" else [None, chosen.widen]:
        for dtype in DTYPES:
            for batch in (1, 8):
                one = measure(dtype, widen, batch, chosen)
                found.append(one)
                off, on, cost = one["off"]["median"], one["on"]["median"], one["cost"]
                print(
                    f"{widen or 'as it is'}, {dtype}, batch {batch}: rows {one['rows']}, off {off:.1f}, on {on:.1f} "
                    f"tokens/s, cost {cost['median']:.2f}x ({cost['low']:.2f} to {cost['high']:.2f}); {one['auto']}",
                    flush=True,
                )
    print(f"results: {save({'machine': facts, 'cells': found}, __file__, chosen)}")
