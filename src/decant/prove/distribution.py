"""Does a method sample from plain decoding's law? Many short continuations against the exact law of two tokens.

The same test then runs on a verifier that is wrong in the classical way, and must not hold.

Source: Pearson 1900, doi:10.1080/14786440009463897.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import zip_longest
from typing import Any, Final, final

import torch

from decant.decoders.autoregressive import Autoregressive
from decant.decoders.method import Method
from decant.decoders.speculative import Speculative
from decant.decoders.workload import Workload
from decant.noise import sample_seed
from decant.protocols import AnyDecoder
from decant.prove.faults import Always, Leaning, ResidualFromTarget, with_verifier
from decant.prove.law import Law, draw_pairs, law_after
from decant.testing.chi_square import chi_square, p_value, power

DOUBT: Final = 1e-3
"""Chance that a right method is refused, over all prompts of the check together."""

FAULT: Final = "a verifier that draws the token behind a refusal from p instead of max(p - q, 0)"
LEANING: Final = "plain decoding that adds half a nat to the likeliest token"
CANDIDATES: Final = 4  # prompts that are looked at, each whole and cut in half
TESTED: Final = 4  # of these: where the fault shows best in a pilot
PILOT: Final = 256  # continuations of each candidate
IMPOSSIBLE: Final = 1e12  # the statistic where something was said that cannot be: JSON knows no infinity
VISIBLE: Final = 0.99  # power below which the method's own drafter hides the fault too well

Fallible = Speculative[Any, Any, Any] | Autoregressive[Any]
Watch = Callable[[str, int], None]
"""Called after each batch of continuations with what was drawn, and how many tokens."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place to test: a prompt, or the first half of one.

    number: tells sites apart; index: the prompt's.
    """

    number: int
    index: int
    prompt: list[int]
    law: Law


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """What continuations of one decoder look like against the law.

    effect:    the sum of (f - p)^2 / p over bins, f the decoder's own law: the statistic without what chance adds.
    variation: total variation between the counts and the law; chance adds to it.
    """

    statistic: float
    freedom: int
    p_value: float
    effect: float
    variation: float


@final
@dataclass(frozen=True, slots=True)
class Draws:
    """How continuations are drawn. Sites, and the stages pilot (0), test (1) and fault (2), share no seed."""

    workload: Workload
    watch: Watch

    def trial(self, decoder: AnyDecoder, site: Site, samples: int, stage: int, text: str) -> Trial:
        """Draw, count, compare."""
        counts_S = torch.zeros(len(site.law.probs_S), dtype=torch.int64)
        seed = sample_seed(self.workload.seed, 1 + 3 * site.number + stage)
        for pairs_R2 in draw_pairs(decoder, site.prompt, samples, seed, self.workload.device):
            counts_S += site.law.count(pairs_R2)
            self.watch(text, pairs_R2.numel())
        statistic, freedom = chi_square(counts_S, site.law.probs_S)
        statistic = min(statistic, IMPOSSIBLE)
        return Trial(
            statistic,
            freedom,
            p_value(statistic, freedom),
            max(0.0, statistic - freedom) / samples,
            float((counts_S / samples - site.law.probs_S).abs().sum() / 2),
        )


def check(plain: Autoregressive[Any], method: Method, workload: Workload, samples: int, watch: Watch) -> dict[str, Any]:
    """One entry of a certificate: `samples` continuations of two tokens behind each of a few prompts.

    It holds where no prompt refuses the law (at DOUBT over the number of prompts, Bonferroni) and the planted fault is
    caught. `power` is the chance that a fault of the planted one's size is caught by such a test.
    """
    draws, sites = Draws(workload, watch), _sites(plain, workload, samples)
    if not sites:
        why = f"every continuation is certain here, or too rare to be counted in {samples} samples"
        return _entry(method, holds=True, note=f"nothing to test: {why}")
    decoder, visible = method.decoder, False
    if isinstance(decoder, Speculative | Autoregressive):
        sites, visible = _pilot(decoder, sites, draws)
    sites = sites[:TESTED]
    doubt = DOUBT / len(sites)
    trials = [draws.trial(decoder, site, samples, 1, method.name) for site in sites]
    faults, whose = [], None
    if isinstance(decoder, Autoregressive):
        faults = [draws.trial(faulty(decoder), site, samples, 2, "planted fault") for site in sites]
    if isinstance(decoder, Speculative):
        faults, whose = _planted(decoder, sites, samples, doubt, draws, visible)
    worst = min(trials, key=lambda trial: trial.p_value)
    caught = any(fault.p_value < doubt for fault in faults) if faults else None
    return _entry(
        method,
        holds=worst.p_value >= doubt and caught is not False,
        prompts=len({site.index for site in sites}),
        statistic=worst.statistic,
        p_value=min(1.0, worst.p_value * len(sites)),
        power=_power(faults, samples, doubt) if faults else None,
        planted_fault_caught=caught,
        freedom=worst.freedom,
        samples=samples,
        doubt=DOUBT,
        planted_fault={
            "what": LEANING if isinstance(decoder, Autoregressive) else FAULT,
            "drafter": whose,
            "total_variation": max((fault.variation for fault in faults), default=None),
        },
        sites=[
            {
                "prompt": site.index,
                "prompt_tokens": len(site.prompt),
                "bins": site.law.bins,
                "trial": asdict(trial),
                "planted_fault": asdict(fault) if fault else None,
            }
            for site, trial, fault in zip_longest(sites, trials, faults)
        ],
    )


def tokens(samples: int) -> int:
    """How many tokens `check` draws, at most."""
    return 2 * (2 * CANDIDATES * PILOT + 3 * TESTED * samples)


def _entry(method: Method, holds: bool, **found: Any) -> dict[str, Any]:
    shape = ("prompts", "statistic", "p_value", "power", "planted_fault_caught", "first_divergence")
    name = f"{method.name}: the same law as plain decoding"
    return {"name": name, "method": method.name, "holds": holds, **dict.fromkeys(shape), "prompts": 0, **found}


def _sites(plain: Autoregressive[Any], workload: Workload, samples: int) -> list[Site]:
    """Whole prompts first, then halves, which often leave more to chance; without those where all is certain."""
    prompts = list(enumerate(workload.prompts[:CANDIDATES]))
    halves = [(index, prompt[: len(prompt) // 2]) for index, prompt in prompts if len(prompt) > 1]
    sites = [
        Site(number, index, ids, law_after(plain, ids, samples, workload.device))
        for number, (index, ids) in enumerate(prompts + halves)
    ]
    return [site for site in sites if site.law.bins > 1]


def _pilot(decoder: Fallible, sites: list[Site], draws: Draws) -> tuple[list[Site], bool]:
    """The sites, those where the fault shows best first; and whether it shows at all with the method's own drafter.

    The pilot's draws are thrown away, so the choice does not bias what is measured later.
    """
    found = [draws.trial(faulty(decoder), site, PILOT, 0, "pilot of the planted fault") for site in sites]
    chance = p_value(sum(trial.statistic for trial in found), sum(trial.freedom for trial in found))
    if chance < DOUBT:
        order = sorted(range(len(sites)), key=lambda at: -found[at].effect)
        return [sites[at] for at in order], True
    return sorted(sites, key=lambda site: -float((site.law.first_V * (1 - site.law.first_V)).max())), False


def _planted(
    decoder: Speculative[Any, Any, Any], sites: list[Site], samples: int, doubt: float, draws: Draws, visible: bool
) -> tuple[list[Trial], str]:
    """Trials of the fault, and the drafter that let it show.

    A drafter that guesses nothing, or whose law is the target's, is hardly ever refused and hides the fault. Then one
    certain guess x takes its place: the fault moves p(x) (1 - p(x)) of the mass.
    """
    if visible:
        faults = [draws.trial(faulty(decoder), site, samples, 2, "planted fault") for site in sites]
        if _power(faults, samples, doubt) >= VISIBLE:
            return faults, "the method's own"
    kinds = decoder.verifier.accepts
    kind = "fixed" if "fixed" in kinds else min(kinds)
    guesses = [Always(int((site.law.first_V - 0.5).abs().argmin()), kind, len(site.law.first_V)) for site in sites]
    faults = [
        draws.trial(faulty(decoder, guess), site, samples, 2, "planted fault, with a fixed guess")
        for site, guess in zip(sites, guesses, strict=True)
    ]
    return faults, "one fixed guess, since the method's own hides the fault"


def faulty(decoder: Fallible, guess: Always | None = None) -> AnyDecoder:
    """The same with FAULT, and with another drafter where one is given; plain decoding with LEANING."""
    if isinstance(decoder, Autoregressive):
        return replace(decoder, warp=Leaning(decoder.warp))
    return with_verifier(decoder, ResidualFromTarget(decoder.verifier), guess)


def _power(faults: list[Trial], samples: int, doubt: float) -> float:
    """Chance that at least one site refuses faults of these sizes."""
    return 1 - math.prod(1 - power(fault.effect, samples, fault.freedom, doubt) for fault in faults)
