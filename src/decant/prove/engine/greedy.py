"""Greedy texts: does the engine differ from its twin more than the twin from itself?

Every prompt is asked a few times on both sides. Where all answers agree, nothing is left to ask. Where they do not,
both are asked again, often, and the new answers are shuffled between the sides.
"""

from dataclasses import replace
from typing import Any, Final

from decant.prove.engine.asking import Answers, Pair, Question, Side, Watch, texts
from decant.prove.engine.parting import TextParting, commonest, explain
from decant.prove.permutation import disagreement, excess

LOOKS: Final = 2  # askings of each side, of every prompt
RUNS: Final = 10  # askings of each side where the looks disagree: one steady difference is then refused
WAVERING: Final = 32  # prompts, at most, that are asked again
FAULT_PROMPTS: Final = 4
HEATS: Final = (1.0, 2.0)  # of the fault: a model that is very sure says its best token at 1 too; 2 is the API's bound
FAULT: Final = "the twin itself, asked to draw at temperature {:g} instead of taking the best token"
EFFECT: Final = 0.1  # share of texts that the fault changes for which power is stated
WAYS: Final = 4  # texts of one prompt, at most, that are examined


def questions(prompts: int) -> int:
    """How many `check` asks, at most."""
    faults = 2 * RUNS * min(prompts, FAULT_PROMPTS) * len(HEATS)
    return 2 * LOOKS * prompts + 2 * RUNS * min(prompts, WAVERING) + faults


def check(pair: Pair, max_tokens: int, doubt: float, watch: Watch) -> dict[str, Any]:
    """One entry of a certificate. It holds where the excess could be chance (at `doubt`) and the fault is caught.

    Prompts whose every difference is a near-tie by the twin's own account are listed, and left out of the test.
    """
    everything = list(range(len(pair.prompts)))
    looks = _asked(pair, everything, max_tokens, LOOKS, "greedy texts", watch)
    open_still = [prompt for prompt in everything if len({*_both(looks, prompt)}) > 1][:WAVERING]
    again = _asked(pair, open_still, max_tokens, RUNS, "greedy texts that differ", watch)
    runs = {one: (texts(again, "engine", one), texts(again, "twin", one)) for one in open_still}
    tied = {one for one in open_still if _tied(pair, one, [*_both(looks, one), *_both(again, one)])}
    statistic, chance = excess([runs[one] for one in open_still if one not in tied], pair.seed)
    fault, fault_chance = _planted(pair, max_tokens, doubt, watch)
    caught = fault_chance < doubt
    partings = [found for one in open_still if (found := _parting(pair, runs[one], one, one in tied)) is not None]
    first = min(partings, key=lambda found: (found.cause == "near-tie", found.prompt), default=None)
    engine, twin = ({one: texts(looks, side, one) for one in everything} for side in ("engine", "twin"))
    same = sum(len({*engine[one], *twin[one]}) == 1 for one in everything)
    return {
        "name": "greedy texts: the engine leaves its twin no more often than the twin leaves itself",
        "holds": chance >= doubt and caught,
        "prompts": len(everything),
        "statistic": statistic,
        "p_value": chance,
        "power": 1 - (1 - EFFECT) ** len(everything),
        "planted_fault_caught": caught,
        "first_divergence": None if first is None else first.facts(),
        "test": "excess disagreement",
        "effect": f"a fault that changes {EFFECT:.0%} of texts, and each of them every time",
        "doubt": doubt,
        "always_the_same": same,
        "near_tied_prompts": len(tied),
        "disagreement": {
            "engine and twin": _mean([disagreement(engine[one], twin[one]) for one in everything]),
            "twin and itself": _mean([disagreement(twin[one]) for one in everything]),
            "engine and itself": _mean([disagreement(engine[one]) for one in everything]),
        },
        "differences": [found.facts() for found in partings],
        "planted_fault": {"what": fault, "p_value": fault_chance},
    }


def _asked(pair: Pair, prompts: list[int], max_tokens: int, runs: int, text: str, watch: Watch) -> Answers:
    sides: tuple[Side, ...] = ("engine", "twin")
    wanted = [
        Question(side, side, turn, prompt, max_tokens, 0.0)
        for turn in range(runs)
        for prompt in prompts
        for side in sides
    ]
    return pair.ask(wanted, text, watch)


def _planted(pair: Pair, max_tokens: int, doubt: float, watch: Watch) -> tuple[str, float]:
    """The first fault that is told from the twin, or the hottest, and its p-value."""
    few, fault, chance = range(min(len(pair.prompts), FAULT_PROMPTS)), "", 1.0
    for fault_heat in HEATS:
        wanted = [
            Question("twin", crowd, turn, prompt, max_tokens, heat)
            for turn in range(RUNS)
            for prompt in few
            for crowd, heat in (("fault", fault_heat), ("twin", 0.0))
        ]
        found = pair.ask(wanted, "planted fault, greedy texts", watch)
        _, chance = excess([(texts(found, "fault", one), texts(found, "twin", one)) for one in few], pair.seed)
        fault = FAULT.format(fault_heat)
        if chance < doubt:
            break
    return fault, chance


def _both(answers: Answers, prompt: int) -> list[str]:
    return [*texts(answers, "engine", prompt), *texts(answers, "twin", prompt)]


def _tied(pair: Pair, prompt: int, said: list[str]) -> bool:
    """Whether every way on is a near-tie with the commonest. Both sides count alike: shuffling changes nothing."""
    ways = sorted(set(said) - {commonest(said)})
    if len(ways) > WAYS:
        return False
    found = [explain(pair.twin, pair.prompts, prompt, commonest(said), way) for way in ways]
    return all(parting is not None and parting.cause == "near-tie" for parting in found)


def _parting(pair: Pair, runs: tuple[list[str], list[str]], prompt: int, tied: bool) -> TextParting | None:
    """Where the engine's usual text leaves the twin's."""
    engine, twin = runs
    found = explain(pair.twin, pair.prompts, prompt, commonest(twin), commonest(engine))
    return replace(found, cause="near-tie") if found is not None and tied else found


def _mean(shares: list[float]) -> float:
    return sum(shares) / len(shares)
