"""Every part of masked diffusion obeys the law of filling in, and its neutral setting is the reference."""

from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.caches.dkv_decode import DkvDecode
from decant.caches.dkv_greedy import DkvGreedy
from decant.caches.dual import Dual
from decant.caches.free_cache import FreeCache
from decant.caches.none import NoCache
from decant.caches.prefix import Prefix
from decant.decoders.freedave import FreeDave
from decant.decoders.generate import right_pad
from decant.decoders.guided_diffusion import GuidedDiffusion
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Reveal, Turn
from decant.models.masked.filter import FilterSpec, untrained
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.ada_block import AdaBlock
from decant.schedules.ascending import Ascending
from decant.schedules.blocks import Blocks
from decant.schedules.eos_rejection import EosRejection
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.testing.laws import check_filling
from decant.testing.markov import MarkovLM
from decant.unmaskers.ancestral import Ancestral
from decant.unmaskers.confident import Confident
from decant.unmaskers.credit_decoding import CreditDecoding
from decant.unmaskers.end_of_text import EndOfText
from decant.unmaskers.entropy import Entropy
from decant.unmaskers.entropy_bound import EntropyBound
from decant.unmaskers.entropy_threshold import EntropyThreshold
from decant.unmaskers.factor import Factor
from decant.unmaskers.hierarchical import Hierarchical
from decant.unmaskers.learn2pd import Learn2PD
from decant.unmaskers.local_leap import LocalLeap
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.margin import Margin
from decant.unmaskers.prophet import Prophet
from decant.unmaskers.random import Random
from decant.unmaskers.remdm import ReMDM
from decant.unmaskers.threshold import Threshold

MODEL = HashLM(vocab=7)
MASK = MODEL.mask
FILTER = untrained(FilterSpec(block=4, hidden=8), seed=1).requires_grad_(False)
UNMASKERS = [
    LowConfidence(),
    LowConfidence(per_step=3),
    Threshold(),
    Threshold(tau=0.5),
    Random(),
    Random(per_step=3),
    Margin(per_step=2),
    Entropy(per_step=2),
    EntropyBound(),
    EntropyBound(gamma=1.0, proxy="confidence"),
    EntropyThreshold(),
    Factor(),
    Factor(2.0),
    Confident(MASK, tau=0.8),
    Confident(MASK, steps=5),
    CreditDecoding(),
    CreditDecoding(tau=0.6, beta=1.0),
    LocalLeap(),
    LocalLeap(0.7, 0.3, 2),
    Hierarchical(),
    Hierarchical(0.8, 0.0),
    Prophet(MASK),
    Prophet(MASK, early=3, answer_first=2, answer_places=3),
    EndOfText(MASK, frozenset({5})),
    EndOfText(MASK, frozenset({2, 5}), sure=0.4),
    Ancestral(),
    Ancestral(grid=3),
    ReMDM(grid=12),
    ReMDM(grid=9, eta=1.0),
    ReMDM(grid=8, kind="cap", eta=0.5),
    ReMDM(grid=8, kind="rescale", eta=0.5),
    Learn2PD(FILTER, MASK),
    Learn2PD(FILTER, MASK, tau=0.5),
]
SCHEDULES = [
    Full(MASK),
    Blocks(MASK, 4),
    Blocks(MASK, 1),
    AdaBlock(MASK, {1, 2}, tau_d=0.2, window_share=0.5, block=3),
    AdaBlock(MASK, set(), block=4),
    Ascending(MASK),
    Ascending(MASK, blocks=2),
    EosRejection(MASK, {0, 3}),
    EosRejection(MASK, {0, 3}, block=4),
    EosRejection(MASK, {0, 3}, ascending=True),
]
CACHES = [
    NoCache(),
    Dual(),
    Prefix(),
    DkvDecode(MASK),
    DkvDecode(MASK, refresh_every=1),
    DkvGreedy(MASK, per_step=2),
    FreeCache(MASK),
    FreeCache(MASK, aggressive=True),
]
NEUTRAL = [
    LowConfidence(),
    Threshold(tau=1.1),
    EntropyBound(gamma=0.0, proxy="confidence"),
    Factor(0.0),
    Confident(MASK, tau=1.0),
    CreditDecoding(tau=1.1, alpha=0.0),
    LocalLeap(tau=1.1),
    Hierarchical(tau=1.1, low=1.1),
    Prophet(MASK, early=inf, middle=inf, late=inf),
    EndOfText(MASK, frozenset()),
    Learn2PD(FILTER, MASK, tau=1.1),
]
"""Settings with which one place settles a step, the surest."""

REFERENCE = MaskedDiffusion(MODEL, LowConfidence(), Blocks(MASK, 4), NoCache(), greedy())

SMALL = MarkovLM.random(vocab=7, seed=3)
LOOPS = {
    "freedave": FreeDave(MODEL, Blocks(MASK, 4), NoCache(), greedy()),
    "freedave, drawn": FreeDave(MODEL, Full(MASK), NoCache(), temperature(1.0), drafts=3),
    "freedave, apart": FreeDave(MODEL, Blocks(MASK, 3), Dual(), greedy(), apart=True),
    "guided-diffusion": GuidedDiffusion(MODEL, SMALL, Blocks(MASK, 4), NoCache(), greedy()),
    "guided-diffusion, drawn": GuidedDiffusion(MODEL, SMALL, Full(MASK), NoCache(), temperature(1.0), chunk=2),
    "guided-diffusion, relaxed": GuidedDiffusion(MODEL, SMALL, Full(MASK), NoCache(), greedy(), relaxed=0.1),
}


def said(decoder: MaskedDiffusion[Any]) -> Tensor:
    with torch.inference_mode():
        state = decoder.start(right_pad([[1, 2] + [MASK] * 12, [3] + [MASK] * 9]), Noise.of([1, 2]))
        while bool((state.canvas_BL == MASK).any()):
            state, _ = decoder.step(state)
    return state.canvas_BL


@pytest.mark.parametrize("warp", [greedy(), temperature(1.0)], ids=["greedy", "drawn"])
@pytest.mark.parametrize("unmasker", UNMASKERS, ids=repr)
def test_unmaskers(unmasker: Any, warp: Any) -> None:
    check_filling(replace(REFERENCE, unmasker=unmasker, warp=warp), MASK)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_schedules(schedule: Any) -> None:
    check_filling(replace(REFERENCE, schedule=schedule), MASK)


@pytest.mark.parametrize("cache", CACHES, ids=repr)
def test_caches(cache: Any) -> None:
    check_filling(replace(REFERENCE, refresh=cache), MASK)


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_loops(loop: Any) -> None:
    check_filling(loop, MASK)


@pytest.mark.parametrize("unmasker", NEUTRAL, ids=repr)
def test_the_neutral_setting_is_one_place_a_step(unmasker: Any) -> None:
    assert said(replace(REFERENCE, unmasker=unmasker)).equal(said(REFERENCE))


@dataclass(frozen=True)
class Leaking:
    """The planted bug: it settles as many places as the whole batch has open."""

    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        bar = seen.confidence_BL[turn.eligible_BL].mean()
        return Reveal(seen.guess_BL, turn.eligible_BL & (seen.confidence_BL >= bar)), None


def test_a_choice_that_looks_at_neighbours_is_caught() -> None:
    with pytest.raises(AssertionError, match="alone"):
        check_filling(replace(REFERENCE, unmasker=Leaking(), schedule=Full(MASK)), MASK)
