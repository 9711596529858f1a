"""Does a draft that learns while it serves guess better in a domain that it was not trained for?

    python benchmarks/online.py [--prompts FILE] [--temperature 0.8] [--threads 2] [--quick]

house:target answers prompts of a domain that neither house model has seen; house:draft guesses, once as it is and once
taught after every request. Tokens a target call, of the first prompts, of the next and of the last: what is learnt on
the first is measured on the last. The same seeds, so the same texts: only the guesses differ.

Left out: speed. A lesson costs a second or so between two requests, which a server would give while it waits.
"""

import argparse
import os

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.opening import Opening
from decant.apps.outside import outside
from decant.apps.prompts import encode, read
from decant.apps.sampling import Sampling
from decant.bench.study import begin, heading, options, save
from decant.decoders.workload import Workload, warmed

PARTS = {"prompts 1 to 25": (0, 25), "prompts 26 to 50": (25, 50), "prompts behind 50": (50, None)}


def lengths(method, workload: Workload, learns: bool) -> list[tuple[int, int]]:
    """(tokens, target calls) of each prompt."""
    decoder, found = method.decoder, []
    for group in workload.groups():
        turn = group.decode(decoder)
        found.append((len(turn.outputs[0].tokens), turn.steps))
        if learns:
            decoder = warmed(decoder, turn.state)
    return found


def per_call(found: list[tuple[int, int]]) -> float:
    return sum(tokens for tokens, _ in found) / max(1, sum(calls for _, calls in found))


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.add_argument("--prompts", help="JSONL or text (default: gsm8k/test.jsonl under DECANT_DATA)")
    parser.add_argument("--temperature", type=float, action="append", help="may be repeated (default: 0 and 0.8)")
    parser.add_argument("--limit", type=int, default=80)
    parser.add_argument("--max-tokens", type=int, default=64)
    chosen = parser.parse_args()
    chosen.temperature = chosen.temperature or [0.0, 0.8]
    if chosen.quick:
        chosen.limit, chosen.max_tokens, chosen.temperature = 4, 8, [0.0]
    return chosen


def asked(chosen: argparse.Namespace) -> tuple[str, list]:
    """Where the prompts are from, and the prompts."""
    if chosen.prompts or "DECANT_DATA" not in os.environ:
        source = chosen.prompts or "house:code"
        return source, read(source, chosen.limit)
    return "gsm8k", outside("gsm8k", chosen.limit)


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    source, prompts = asked(chosen)
    target, draft = Opening(exact="off").pair("house:target", "house:draft", ["online"])
    rows = []
    for heat in chosen.temperature:
        warp = warp_of(Sampling(temperature=heat))
        workload = Workload(encode(prompts, target, chosen.max_tokens), chosen.max_tokens, ends=target.ends)
        method = compose("online", target, draft, warp)
        found = {name: lengths(method, workload, learns) for name, learns in (("as it is", False), ("taught", True))}
        row = {"source": source, "temperature": heat}
        for name, (first, stop) in PARTS.items():
            row[name] = {draft: round(per_call(calls[first:stop]), 4) for draft, calls in found.items()}
            gain = row[name]["taught"] - row[name]["as it is"]
            print(f"{source}, temperature {heat:g}, {name}: {row[name]}, {gain:+.3f} tokens a call", flush=True)
        rows.append(row)
    save({"machine": facts, "rows": rows}, __file__, chosen)
