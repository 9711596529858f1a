"""How much sooner does speculation give the same text, on a target of a real size?

    python benchmarks/speculation.py [--widen 0.4B] [--widen-draft 0.02B] [--dtype D] [--threads 2] [--quick]

house:target is widened to the size of a real model (it says the same, and costs what that size costs) and raced
against plain decoding at its fastest, on held-out prompts of three kinds, greedily, one request at a time. With
--widen-draft the draft is widened too: the narrow draft alone would flatter draft-model.

Left out: a real model of that size is surer of itself or less sure than this one, so acceptance is the house model's;
prefill is not in tokens/s (`ttft_seconds` in the results); batches above 1; sampling.
"""

import argparse

from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench import report as tables
from decant.bench.study import begin, heading, options, save, working_dtype

SOURCES = ("house:tasks", "house:code", "house:copy")


def rows_of(reports: dict[str, dict], name: str) -> list[dict]:
    """One method on all prompts."""
    return [row for one in reports.values() for row in one["methods"] if row["name"] == name]


def speed(reports: dict[str, dict], name: str) -> float:
    """Tokens a second over all prompts together."""
    rows = rows_of(reports, name)
    return sum(row["tokens"] for row in rows) / sum(row["tokens"] / row["tokens_per_second"]["median"] for row in rows)


def a_call(reports: dict[str, dict], name: str) -> float:
    """Tokens a target call over all prompts together."""
    rows = rows_of(reports, name)
    return sum(row["tokens"] for row in rows) / sum(row["tokens"] / row["acceptance_length"] for row in rows)


def targets(reports: dict[str, dict]) -> dict[str, dict]:
    """What was aimed at, what was reached: over all held-out prompts together, where no source is named."""
    copying = {row["name"]: row for row in reports["house:copy"]["methods"] if row["skipped"] is None}
    plain = speed(reports, "plain")
    gains = {name: speed(reports, name) / plain for name in copying if name != "plain"}
    best = max(gains, key=gains.__getitem__)
    distinct = [one["methods"][0]["distinct_4grams"] or 0.0 for one in reports.values()]
    reached = {
        f"best drafter over plain decoding ({best})": (gains[best], 2.0),
        "tokens a call of draft-model": (a_call(reports, "draft-model"), 3.0),
        "tokens a call of token-recycling": (a_call(reports, "token-recycling"), 2.0),
        "tokens a call of prompt-lookup on house:copy": (copying["prompt-lookup"]["acceptance_length"], 1.5),
        "distinct 4-grams, the fewest of any source": (min(distinct), 0.5),
    }
    return {name: {"reached": got, "wanted": want, "met": got >= want} for name, (got, want) in reached.items()}


def arguments() -> argparse.Namespace:
    parser = options(__doc__)
    parser.add_argument("--widen", default="0.4B", help="size of the target; 'none' leaves it as it is")
    parser.add_argument("--widen-draft", default=None, help="size of the draft (default: as it is)")
    parser.add_argument("--dtype", default=working_dtype(), help="default: the fastest here")
    parser.add_argument("--limit", type=int, default=12, help="prompts of each kind")
    parser.add_argument("--max-tokens", type=int, default=96)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.widen, chosen.widen_draft, chosen.limit, chosen.max_tokens = "none", None, 2, 12
    return chosen


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    widen = None if chosen.widen == "none" else chosen.widen
    opening = Opening(dtype=chosen.dtype, widen=widen, widen_draft=chosen.widen_draft)
    target, draft = opening.pair("house:target", "house:draft", ["draft-model"])
    print(f"target: {target.facts()['parameters']:,} parameters in {chosen.dtype}; {target.exact_note}")
    print(f"draft: {draft.facts()['parameters']:,} parameters")
    reports = {}
    for source in SOURCES:
        question = Question("all", source, draft, max_tokens=chosen.max_tokens)
        trial = prepare(target, question, read(source, chosen.limit), Sampling(temperature=0.0), opening)
        reports[source] = trial.race(chosen.repeat, lambda done, total, text: None)
        print(f"\n{source}\n{tables.text(tables.rows(reports[source]))}", flush=True)
        aims = targets(reports) if len(reports) == len(SOURCES) else None
        file = save({"machine": facts, "reports": reports, "targets": aims}, __file__, chosen)
    print()
    for name, aim in aims.items():
        print(f"{'met   ' if aim['met'] else 'MISSED'}  {name}: {aim['reached']:.2f} (wanted {aim['wanted']})")
    print(f"results: {file}")
