"""Every part of masked diffusion obeys the law of filling in, and its neutral setting is the reference."""

from dataclasses import dataclass, replace
from math import inf
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from decant.caches.dual import Dual
from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Reveal, Turn
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.testing.laws import check_filling
from decant.unmaskers.end_of_text import EndOfText
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.prophet import Prophet
from decant.unmaskers.threshold import Threshold

MODEL = HashLM(vocab=7)
MASK = MODEL.mask
UNMASKERS = [
    LowConfidence(),
    LowConfidence(per_step=3),
    Threshold(),
    Threshold(tau=0.5),
    Prophet(MASK),
    Prophet(MASK, early=3, answer_first=2, answer_places=3),
    EndOfText(MASK, frozenset({5})),
    EndOfText(MASK, frozenset({2, 5}), sure=0.4),
]
SCHEDULES = [Full(MASK), Blocks(MASK, 4), Blocks(MASK, 1)]
CACHES = [NoCache(), Dual()]
NEUTRAL = [
    LowConfidence(),
    Threshold(tau=1.1),
    Prophet(MASK, early=inf, middle=inf, late=inf),
    EndOfText(MASK, frozenset()),
]
"""Settings with which one place settles a step, the surest."""

REFERENCE = MaskedDiffusion(MODEL, LowConfidence(), Blocks(MASK, 4), NoCache(), greedy())


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
