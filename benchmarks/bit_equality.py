"""How many of 540 prompts does drafted decoding answer with exactly plain decoding's tokens?

    python benchmarks/bit_equality.py [--threads 2] [--json FILE] [--quick]
    python benchmarks/bit_equality.py --widen 0.4B --take 64 --max-tokens 16

house:target in exact mode: float32 and bfloat16, greedy and sampled (temperature 1, verifier coupled, fixed seeds),
batch 1 and 8, each method against plain decoding at the same batch; chains (draft-model, prompt-lookup) and trees
(token-recycling) must be equal on all prompts. Differences are counted as near-ties, or as unexplained. In every cell a
planted fault must be caught. The prompts are the 180 shipped ones, their halves and their quarters. Cells that
stand in the results file already are not run again, so an interrupted run goes on.

Left out: other models, machines, thread counts and lengths; logits are compared through the tokens that they choose.
"""

import argparse
import json
from dataclasses import replace

from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, Trial, prepare
from decant.bench.study import begin, heading, options, result_file, save
from decant.decoders.workload import Workload
from decant.models.load import Loaded

SOURCES = ("house:tasks", "house:code", "house:copy")
KEPT = (
    "method",
    "holds",
    "prompts",
    "identical",
    "near_ties",
    "unexplained",
    "tokens",
    "planted_fault_caught",
    "divergences",
)


def cell(target: Loaded, draft: Loaded, heat: float, batch: int, chosen: argparse.Namespace) -> list[dict]:
    """One check a method."""
    question = Question("all", "", draft, max_tokens=chosen.max_tokens, batch=batch)
    prompts = [prompt for source in SOURCES for prompt in read(source, chosen.limit)]
    trial = prepare(target, question, prompts, Sampling(temperature=heat), Opening())
    report = with_parts(trial, chosen.take).certify(0, lambda done, total, text: None)
    return [{key: check[key] for key in KEPT} for check in report["checks"] if "identical" in check]


def with_parts(trial: Trial, take: int | None) -> Trial:
    """The first halves and quarters of all prompts stand behind them; of all that every n-th, `take` in number."""
    work = trial.workload
    prompts = [ids[: max(1, len(ids) // part)] for part in (1, 2, 4) for ids in work.prompts]
    prompts = prompts[:: max(1, len(prompts) // take)][:take] if take else prompts
    return replace(trial, workload=Workload(prompts, work.max_tokens, work.batch, work.seed, work.ends, work.device))


def finished(chosen: argparse.Namespace, settings: dict) -> dict:
    """Cells of an earlier run with the same settings on this machine."""
    file = result_file(__file__, chosen)
    if not file.is_file():
        return {}
    earlier = json.loads(file.read_text())
    return earlier["cells"] if earlier["settings"] == settings else {}


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=60, help="prompts of each of three kinds")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--take", type=int, help="so many of all prompts, evenly spread (default: all)")
    parser.add_argument("--widen", help="size that the target is enlarged to")
    parser.add_argument("--dtypes", default="float32,bfloat16")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.limit, chosen.max_tokens = 2, 8
    facts = begin(chosen)
    print(heading(facts))
    settings = {
        "limit": chosen.limit,
        "max_tokens": chosen.max_tokens,
        "take": chosen.take,
        "widen": chosen.widen,
        **{key: facts[key] for key in ("processor", "threads", "torch", "decant")},
    }
    cells = finished(chosen, settings)
    file = None
    for dtype in chosen.dtypes.split(","):
        target, draft = Opening(dtype=dtype, exact="on", widen=chosen.widen).pair(
            "house:target", "house:draft", ["draft-model"]
        )
        print(f"{dtype}: {target.exact_note}")
        for heat in (0.0, 1.0):
            for batch in (1, 8):
                name = f"{dtype}, temperature {heat:g}, batch {batch}"
                if name not in cells:
                    cells[name] = cell(target, draft, heat, batch, chosen)
                    file = save({"machine": facts, "settings": settings, "cells": cells}, __file__, chosen)
                for check in cells[name]:
                    print(
                        f"{name}: {check['method']:16} {check['identical']} of {check['prompts']} identical, "
                        f"{check['near_ties']} near-ties, {check['unexplained']} unexplained, planted fault "
                        f"{'caught' if check['planted_fault_caught'] else 'NOT caught'}",
                        flush=True,
                    )
    total = [check for checks in cells.values() for check in checks]
    equal, asked = (sum(check[key] for check in total) for key in ("identical", "prompts"))
    print(f"{equal} of {asked} texts equal plain decoding's")
    print(f"all {len(total)} checks hold" if all(check["holds"] for check in total) else "NOT all checks hold")
    print(f"results: {file}")
