"""How often does `decant prove --engine` refuse an honest server, and how often does it let a broken one pass?

    python benchmarks/prove_engine.py [--seeds 200] [--http 2] [--quick]

Servers of a Markov table (`decant.testing.completions`), a new one for every seed, with a draft that nearly agrees.
Honest ones speculate by rejection sampling, without and with near-ties that fall now this way, now that. Broken ones
keep every guess; draw what follows a refusal from p and not from what is left of it; or do so in one answer of four.
"refused" counts certificates that do not hold at the stated doubt (1e-3 for each of two tests, so 0.2 % of honest ones
at most). "p < 0.05" counts the law test alone: of honest servers 5 %, or it is not calibrated. Most seeds are asked
without a network between, --http of each kind through a server on the loopback: the verdicts must be the same.

Left out: real engines, whose laws are far from uniform; the tests' power there is in each certificate.
"""

import random
from dataclasses import dataclass

from decant.bench.study import begin, heading, options, save
from decant.distill.server import Server
from decant.prove.engine import Terms, run
from decant.prove.engine.asking import Pair
from decant.prove.engine.served import Served
from decant.testing.completions import LETTERS, MODEL, Speaker, serving

PROMPTS = 8
KINDS = {
    "honest": ("lossless", False),
    "honest, near-ties": ("lossless", True),
    "accepts every draft": ("accepts all", False),
    "no residual": ("no residual", False),
    "no residual, one answer of four": ("no residual", False),
}


@dataclass
class Sometimes:
    """A server that is broken in one answer of four."""

    right: Speaker
    wrong: Speaker

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        broken = self.right.rng.random() < 0.25
        return (self.wrong if broken else self.right).say(prompt, max_tokens, temperature, seed)

    def tops(self, prompt: str) -> dict[str, float]:
        return self.right.tops(prompt)


def pair(name: str, seed: int) -> Pair:
    kind, ties = KINDS[name]
    engine = Speaker.of(kind, seed, 2 * seed, ties)
    if "one answer" in name:
        engine = Sometimes(Speaker.of("lossless", seed, 3 * seed, ties), engine)
    rng = random.Random(seed)
    prompts = ["".join(chr(ord("a") + rng.randrange(LETTERS)) for _ in range(4)) for _ in range(PROMPTS)]
    return Pair(engine, Speaker.of("plain", seed, 2 * seed + 1, ties), prompts, at_once=1, seed=seed)


def served(one: Pair, terms: Terms) -> dict:
    """The same over HTTP."""
    with serving(one.engine) as engine, serving(one.twin) as twin:
        sides = [Served(Server(url, who="engine"), MODEL, "completions") for url in (engine, twin)]
        return run(Pair(*sides, one.prompts, 4, one.seed), terms, {})


def measure(name: str, chosen) -> dict:
    terms = Terms(max_tokens=32, samples=chosen.samples)
    reports = [run(pair(name, seed), terms, {}) for seed in range(chosen.seeds)]
    wired = [served(pair(name, seed), terms) for seed in range(chosen.http)]
    greedy, law = ([report["checks"][at] for report in reports] for at in (0, 1))
    return {
        "name": name,
        "servers": len(reports),
        "refused": sum(not report["holds"] for report in reports),
        "refused_by_greedy": sum(check["p_value"] < check["doubt"] for check in greedy),
        "refused_by_law": sum(check["p_value"] < check["doubt"] for check in law),
        "law_below_5_percent": sum(check["p_value"] < 0.05 for check in law),
        "fault_missed": sum(not check["planted_fault_caught"] for check in [*greedy, *law]),
        "stated_power": sum(check["power"] for check in law) / len(law),
        "over_http": [report["holds"] for report in wired],
        "same_over_http": all(two["holds"] == one["holds"] for one, two in zip(reports, wired, strict=False)),
    }


if __name__ == "__main__":
    parser = options(__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="servers of each kind")
    parser.add_argument("--http", type=int, default=2, help="of each kind, asked over HTTP too")
    parser.add_argument("--samples", type=int, default=480, help="continuations behind each prompt")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seeds, chosen.http, chosen.samples = 2, 1, 120
    facts = begin(chosen)
    print(heading(facts))
    found = []
    for name in KINDS:
        one = measure(name, chosen)
        found.append(one)
        print(
            f"{name}: {one['refused']} of {one['servers']} refused (greedy texts {one['refused_by_greedy']}, law "
            f"{one['refused_by_law']}); law p < 0.05 in {one['law_below_5_percent']}; planted faults missed "
            f"{one['fault_missed']}; over HTTP {one['over_http']}",
            flush=True,
        )
    print(f"results: {save({'machine': facts, 'kinds': found}, __file__, chosen)}")
