"""Structured output: is what a schema allows valid, what does speculation win under one, what do its masks cost?

    DECANT_DATA=... python benchmarks/json_schema.py [--widen 0.4B] [--limit 12] [--threads 2] [--quick]

The schemas are those of $DECANT_DATA/json_schema_test_suite that llguidance accepts, each in the dialect of its folder.
house:target answers every one, drawn at temperature 1 behind one prompt, without white space (which a small model goes
on with for ever); what ends before --max-tokens is validated with jsonschema, formats included. Then `--limit` of them
are answered by the target widened: plainly and with speculation, one request at a time, the same text each time. What
masks cost is the constraint's seconds as a share of all seconds of plain decoding.

Left out: white space, batches above 1, schemas that people write, of which these are corners; prompts that ask for the
answer: the texts are valid, not sensible.
"""

import argparse
import json
import os
import random
import re
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import jsonschema
from referencing.exceptions import Unresolvable

from decant.apps.choosing import warp_of
from decant.apps.compose import compose, plain
from decant.apps.constraining import bound
from decant.apps.sampling import Sampling
from decant.bench.study import begin, heading, options, save, working_dtype
from decant.constraints.grammar import Json
from decant.decoders.generate import Output, generate, right_pad
from decant.decoders.method import Method
from decant.decoders.stopping import Stopping
from decant.errors import BadInput
from decant.models.load import Loaded, load
from decant.noise import Noise

DIALECTS: Final = {
    "draft7": ("http://json-schema.org/draft-07/schema#", jsonschema.Draft7Validator),
    "draft2020-12": ("https://json-schema.org/draft/2020-12/schema", jsonschema.Draft202012Validator),
}
METHODS: Final = ("prompt-lookup", "token-recycling", "draft-model")
UNJUDGED: Final = "jsonschema cannot read it"
PROMPT: Final = "An example that the schema allows, as JSON:\n"
WARP: Final = warp_of(Sampling(temperature=1.0))


@dataclass
class Timed:
    """A grammar that adds up the seconds it takes."""

    grammar: Any
    seconds: float = 0.0

    def __getattr__(self, name: str) -> Any:
        def timed(*given: Any) -> Any:
            begun = time.perf_counter()
            found = getattr(self.grammar, name)(*given)
            self.seconds += time.perf_counter() - begun
            return found

        return timed


def schemas(home: Path) -> list[tuple[str, Any]]:
    """(folder, schema) of every group of tests; objects say which dialect they are."""
    found = []
    for folder, (dialect, _) in DIALECTS.items():
        for file in sorted((home / "json_schema_test_suite" / "tests" / folder).rglob("*.json")):
            given = [group["schema"] for group in json.loads(file.read_text(encoding="utf-8"))]
            found += [(folder, {"$schema": dialect} | one if isinstance(one, dict) else one) for one in given]
    return found


def answer(method: Method, target: Loaded, chosen: argparse.Namespace) -> tuple[Output, float]:
    """What is said, and in how many seconds."""
    begun, stopping = time.perf_counter(), [Stopping(chosen.max_tokens, target.ends)]
    turn = generate(method.decoder, right_pad([target.encode(PROMPT)]), Noise.of([chosen.seed]), stopping)
    return turn.outputs[0], time.perf_counter() - begun


def fault(folder: str, schema: Any, text: str) -> str | None:
    """Why the text is not valid; None where it is, UNJUDGED where jsonschema cannot read a pattern or a reference."""
    kind = DIALECTS[folder][1]
    try:
        kind(schema, format_checker=kind.FORMAT_CHECKER).validate(json.loads(text))
    except (re.error, Unresolvable):
        return UNJUDGED
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return None


def validity(asked: list[tuple[str, Any]], target: Loaded, chosen: argparse.Namespace) -> tuple[dict[str, Any], list]:
    accepted, faults, judged = [], [], 0
    for folder, schema in asked:
        try:
            grammar = bound(Json(schema, compact=True), target)
        except BadInput:
            continue
        accepted.append((folder, schema))
        output, _ = answer(plain(target, WARP, grammar), target, chosen)
        text = target.decode(output.tokens)
        reason = fault(folder, schema, text) if output.reason == "stop" else UNJUDGED
        judged += reason != UNJUDGED
        if reason not in (None, UNJUDGED):
            faults.append({"folder": folder, "schema": schema, "text": text, "reason": reason})
    counts = {"schemas": len(asked), "accepted": len(accepted), "finished": judged, "valid": judged - len(faults)}
    return counts | {"faults": faults}, accepted


def speed(accepted: list, target: Loaded, draft: Loaded, chosen: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every method over the schemas drawn, and the constraint's share of plain decoding's."""
    drawn = random.Random(chosen.seed).sample(accepted, min(chosen.limit, len(accepted)))
    seconds: dict[str, list[float]] = {name: [] for name in ("plain", *METHODS)}
    shares, tokens, same = [], 0, True
    for turn in range(chosen.repeat):
        spent = dict.fromkeys(seconds, 0.0)
        for _, schema in drawn:
            timed: Any = Timed(bound(Json(schema, compact=True), target))
            want, took = answer(plain(target, WARP, timed), target, chosen)
            spent["plain"] += took
            shares.append((timed.seconds, took))
            tokens += len(want.tokens) if turn == 0 else 0
            for name in METHODS:
                have, took = answer(compose(name, target, draft, WARP, constraint=timed.grammar), target, chosen)
                spent[name] += took
                same &= have.tokens == want.tokens
        seconds = {name: [*seconds[name], took] for name, took in spent.items()}
    ratios = {name: median(a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)) for name in METHODS}
    share = sum(mask for mask, _ in shares) / sum(whole for _, whole in shares)
    return {"tokens": tokens, "seconds": seconds, "speedup": ratios, "same_text": same, "mask_share": share}


if __name__ == "__main__":
    parser = options(__doc__ or "", repeat=3)
    parser.add_argument("--widen", default="0.4B", help="size of the widened target")
    parser.add_argument("--limit", type=int, default=12, help="schemas whose speed is measured")
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print(heading(facts := begin(chosen)))
    asked = schemas(Path(os.environ["DECANT_DATA"]))
    if chosen.quick:
        chosen.widen, chosen.limit, chosen.max_tokens, asked = None, 2, 24, asked[::40]
    small, draft = load("house:target", exact="off"), load("house:draft", exact="off")
    valid, accepted = validity(asked, small, chosen)
    print({what: count for what, count in valid.items() if what != "faults"})
    fast = speed(accepted, load("house:target", dtype=working_dtype(), widen=chosen.widen, exact="off"), draft, chosen)
    aims = {"finished outputs that validate": (valid["valid"] / max(1, valid["finished"]), 1.0, 1)}
    aims["speculation over plain, the best method"] = (max(fast["speedup"].values()), 1.3, 1)
    aims["masks, share of a plain step"] = (fast["mask_share"], 0.1, -1)
    for name, (got, wanted, sign) in aims.items():
        print(f"{'met   ' if sign * got >= sign * wanted else 'MISSED'}  {name}: {got:.3f} (wanted {wanted})")
    print(f"speedups {fast['speedup']}, the same text: {fast['same_text']}, {fast['tokens']} tokens")
    print(f"results: {save({'machine': facts, 'validity': valid, 'speed': fast}, __file__, chosen)}")
