"""Does a method sample whole short continuations as plain decoding does? Two samples, compared by shuffling.

The exact law is known of two tokens only (`distribution`); a fault that grows along a text, or shows behind a rejected
guess at the third round, is looked for here. The same comparison then runs on a planted fault.
"""

from collections.abc import Sequence
from typing import Any, Final

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.many import many, seeds_of
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.stopping import Stopping
from decant.decoders.workload import Workload
from decant.noise import sample_seed
from decant.protocols import AnyDecoder
from decant.prove.distribution import DOUBT, FAULT, VISIBLE, Watch, faulty
from decant.prove.equality import FAULT as COARSE
from decant.prove.faults import Always, OneTooMany, with_verifier
from decant.prove.law import MOST_ROWS, law_after
from decant.prove.permutation import END, Comparison, Crowd, compare

LENGTH: Final = 8  # tokens of a continuation
GROUPS: Final = 12  # of a side: two sides can be shuffled in 2.7 million ways
PROMPTS: Final = 2
ORDER: Final = 2  # tokens of a run
GUESS: Final = "one fixed guess, since the method's own hides the fault"
PLAIN, METHOD, WRONG = 100, 101, 102  # stages, which share no seed with each other or with `distribution`


def check(plain: Autoregressive[Any], method: Method, workload: Workload, samples: int, watch: Watch) -> dict[str, Any]:
    """One entry of a certificate: half of `samples` continuations behind each of a few prompts, on each side.

    It holds where shuffled groups differ as much (at DOUBT) and the planted fault is caught.
    """
    few = list(range(min(PROMPTS, len(workload.prompts))))
    each = max(2, samples // 2 // GROUPS)
    draw = _Draws(workload, each, watch)
    right = [draw(plain, prompt, PLAIN, "plain, continuations") for prompt in few]
    said = [draw(method.decoder, prompt, METHOD, f"{method.name}, continuations") for prompt in few]
    found = compare(said, right, ORDER, workload.seed)
    entry = _entry(method, found, len(few), each * GROUPS)
    if not found.features:
        return {**entry, "holds": True, "p_value": None, "note": "nothing to test: every continuation is certain here"}
    if not isinstance(method.decoder, Speculative):
        return {**entry, "holds": found.p_value >= DOUBT}
    wrong, what, whose = _planted(plain, method.decoder, few, right, draw)
    caught = wrong.p_value < DOUBT
    return {
        **entry,
        "holds": found.p_value >= DOUBT and caught,
        "power": wrong.power(DOUBT),
        "planted_fault_caught": caught,
        "smallest_share_caught": wrong.smallest(DOUBT),
        "planted_fault": {
            "what": what,
            "drafter": whose,
            "statistic": wrong.statistic,
            "p_value": wrong.p_value,
        },
    }


def tokens(samples: int) -> int:
    """How many tokens `check` draws, at most."""
    return 5 * PROMPTS * LENGTH * max(2, samples // 2 // GROUPS) * GROUPS


class _Draws:
    """Continuations of a decoder, in groups."""

    def __init__(self, workload: Workload, each: int, watch: Watch) -> None:
        self.workload, self.each, self.watch = workload, each, watch

    def __call__(self, decoder: AnyDecoder, prompt: int, stage: int, text: str) -> Crowd:
        """Groups of `each` behind one prompt; a stage has seeds of its own."""
        work = self.workload
        seeds = seeds_of(sample_seed(work.seed, 1000 * (1 + prompt) + stage), self.each * GROUPS)
        last = None
        for turn in many(
            decoder, work.prompts[prompt], seeds, Stopping(LENGTH, work.ends), batch=MOST_ROWS, device=work.device
        ):
            last = turn
        assert last is not None
        self.watch(text, LENGTH * len(seeds))
        ended = [[*output.tokens, END] if len(output.tokens) < LENGTH else output.tokens for output in last.outputs]
        return [ended[at : at + self.each] for at in range(0, len(ended), self.each)]


def _entry(method: Method, found: Comparison, prompts: int, samples: int) -> dict[str, Any]:
    return {
        "name": f"{method.name}: continuations of {LENGTH} tokens follow plain decoding's law",
        "method": method.name,
        "holds": False,
        "prompts": prompts,
        "statistic": found.statistic,
        "p_value": found.p_value,
        "power": None,
        "planted_fault_caught": None,
        "first_divergence": None,
        "test": "shuffled groups",
        "samples": samples,
        "doubt": DOUBT,
        "features": found.features,
        "by_chance": {"mean": found.mean, "spread": found.spread},
    }


def _planted(
    plain: Autoregressive[Any], decoder: Speculative[Any, Any, Any], few: list[int], right: list[Crowd], draw: _Draws
) -> tuple[Comparison, str, str]:
    """A fault against plain decoding, what it is, and whose drafter let it show.

    The subtle one with the method's own drafter; where that hides it, with one certain guess; where so few
    continuations do not show that either, the coarse one.
    """
    found = _compared([faulty(decoder)] * len(few), few, right, draw, WRONG)
    if found.p_value < DOUBT and found.power(DOUBT) >= VISIBLE:
        return found, FAULT, "the method's own"
    kinds = decoder.verifier.accepts
    kind = "fixed" if "fixed" in kinds else min(kinds)
    laws = [law_after(plain, draw.workload.prompts[one], 2, draw.workload.device).first_V for one in few]
    guesses = [Always(int((law_V - 0.5).abs().argmin()), kind, len(law_V)) for law_V in laws]
    found = _compared([faulty(decoder, guess) for guess in guesses], few, right, draw, WRONG + 1)
    if found.p_value < DOUBT:
        return found, FAULT, GUESS
    coarse = [with_verifier(decoder, OneTooMany(decoder.verifier), guess) for guess in guesses]
    return _compared(coarse, few, right, draw, WRONG + 2), COARSE, GUESS


def _compared(wrong: Sequence[AnyDecoder], few: list[int], right: list[Crowd], draw: _Draws, stage: int) -> Comparison:
    said = [draw(one, prompt, stage, "planted fault, continuations") for one, prompt in zip(wrong, few, strict=True)]
    return compare(said, right, ORDER, draw.workload.seed)
