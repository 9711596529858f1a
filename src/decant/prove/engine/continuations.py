"""Short continuations at temperature 1: do engine and twin follow one law?

Both are asked in rounds, and whole rounds are shuffled between the sides, so what the twin does differently from round
to round counts as chance. The twin at another temperature is the planted fault.
"""

from typing import Any, Final

from decant.prove.engine.asking import Answers, Pair, Question, Side, Watch, rounds
from decant.prove.permutation import END, Crowd, compare

ROUNDS: Final = 12  # of a side: two sides can be shuffled in 2.7 million ways
PROMPTS: Final = 4  # at most
ORDER: Final = 3  # characters of a run
HEAT: Final = 0.5
FAULT: Final = f"the twin itself, asked at temperature {HEAT} instead of 1"
CROWDS: Final[tuple[tuple[Side, str, float], ...]] = (
    ("engine", "engine", 1.0),
    ("twin", "twin", 1.0),
    ("twin", "fault", HEAT),
)


def questions(prompts: int, samples: int) -> int:
    """How many `check` asks."""
    return len(CROWDS) * min(prompts, PROMPTS) * ROUNDS * _each(samples)


def check(pair: Pair, length: int, samples: int, doubt: float, watch: Watch) -> dict[str, Any]:
    """One entry of a certificate: about `samples` continuations of up to `length` tokens behind each of a few prompts.

    It holds where shuffled rounds differ as much (at `doubt`) and the planted fault is caught.
    """
    sites = range(min(len(pair.prompts), PROMPTS))
    wanted = [
        Question(side, crowd, turn, prompt, length, heat)
        for turn in range(ROUNDS)
        for prompt in sites
        for side, crowd, heat in CROWDS
        for _ in range(_each(samples))
    ]
    answers = pair.ask(wanted, "continuations", watch)
    engine, twin, fault = ([_crowd(answers, crowd, one) for one in sites] for _, crowd, _ in CROWDS)
    found = compare(engine, twin, ORDER, pair.seed)
    wrong = compare(fault, twin, ORDER, pair.seed)
    # Even rounds against odd ones: half as many continuations on each side as above.
    itself = compare([one[::2] for one in twin], [one[1::2] for one in twin], ORDER, pair.seed)
    caught = wrong.p_value < doubt
    return {
        "name": f"continuations at temperature 1: engine and twin follow one law, over {length} tokens",
        "holds": found.p_value >= doubt and caught,
        "prompts": len(sites),
        "statistic": found.statistic,
        "p_value": found.p_value,
        "power": wrong.power(doubt),
        "planted_fault_caught": caught,
        "first_divergence": None,
        "test": "shuffled rounds",
        "samples": ROUNDS * _each(samples),
        "doubt": doubt,
        "features": found.features,
        "by_chance": {"mean": found.mean, "spread": found.spread},
        "twin_with_itself": {"statistic": itself.statistic, "by_chance": itself.mean, "p_value": itself.p_value},
        "distinct": {"engine": _distinct(engine), "twin": _distinct(twin)},
        "smallest_share_caught": wrong.smallest(doubt),
        "planted_fault": {"what": FAULT, "statistic": wrong.statistic, "p_value": wrong.p_value},
        **_note(caught, _distinct(twin) == len(sites)),
    }


def _each(samples: int) -> int:
    """Continuations of a round."""
    return max(1, round(samples / ROUNDS))


def _crowd(answers: Answers, crowd: str, prompt: int) -> Crowd:
    return [[[*text, END] for text in group] for group in rounds(answers, crowd, prompt)]


def _distinct(sides: list[Crowd]) -> int:
    return sum(len({tuple(said) for group in crowd for said in group}) for crowd in sides)


def _note(caught: bool, certain: bool) -> dict[str, str]:
    if caught:
        return {}
    if certain:
        why = "the twin gives each prompt one text, even at temperature 1"
        return {"note": f"{why}: start it without a fixed seed, or take prompts that leave more open"}
    return {"note": "the planted fault was not told from the twin: ask for more samples, or take other prompts"}
