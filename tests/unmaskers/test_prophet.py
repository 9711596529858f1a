"""Prophet settles all that is left when the answer is decided: its bars, its region, its neutral settings."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Outlook, Turn
from decant.errors import BadInput
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.schedules.blocks import Blocks
from decant.testing.canvases import HashLM
from decant.unmaskers.low_confidence import LowConfidence
from decant.unmaskers.prophet import Prophet

MODEL = HashLM(vocab=7)
MASK = MODEL.mask
BASE = MaskedDiffusion(MODEL, LowConfidence(), Blocks(MASK, 4), NoCache(), greedy())


def bars(one: float) -> Prophet:
    return Prophet(MASK, early=one, middle=one, late=one)


def run(unmasker: Any) -> tuple[Tensor, int]:
    """canvas_BL and passes."""
    decoder = replace(BASE, unmasker=unmasker)
    with torch.inference_mode():
        state = decoder.start(right_pad([[at, 2] + [MASK] * 11 for at in range(6)]), Noise.of(list(range(6))))
        while bool((state.canvas_BL == MASK).any()):
            state, _ = decoder.step(state)
    return state.canvas_BL, state.context.asked.passes[0]


def test_bars_out_of_reach_are_the_plain_loop() -> None:
    found, passes = run(bars(math.inf))
    assert found.equal(run(LowConfidence())[0])
    assert passes == 11


def test_a_bar_that_everything_clears_is_one_pass() -> None:
    assert run(bars(-math.inf))[1] == 1


@pytest.mark.parametrize("bar", [1.0, 2.0, 4.0])
def test_there_are_never_more_passes(bar: float) -> None:
    found, passes = run(bars(bar))
    assert passes <= 11
    assert not bool((found == MASK).any())


def seen(gap_L: list[float], settled: int) -> Outlook:
    """One request: so many places settled, then open ones whose best logit lies so far above the second."""
    logits_NV = torch.zeros(len(gap_L), 5)
    logits_NV[:, 1] = torch.tensor(gap_L)
    canvas_BL = torch.tensor([[0] * settled + [4] * len(gap_L)])
    place_N = torch.arange(settled, settled + len(gap_L))
    return Outlook(canvas_BL, torch.zeros_like(place_N), place_N, logits_NV, greedy(), Noise.of([1]))


def settles(unmasker: Prophet, gap_L: list[float], settled: int) -> int:
    """How many places settle, of a canvas that was all open at first, where only the first open place may."""
    outlook = seen(gap_L, settled)
    state = unmasker.start(torch.full_like(outlook.canvas_BL, 4), outlook.noise)
    eligible_BL = (outlook.canvas_BL == 4) & ((outlook.canvas_BL == 4).cumsum(-1) == 1)
    return int(unmasker.reveal(state, outlook, Turn(eligible_BL))[0].settled_BL.sum())


@pytest.mark.parametrize(
    ("settled", "bar"), [(0, 7.5), (2, 7.5), (4, 5.0), (7, 5.0), (8, 2.5), (11, 2.5)], ids="{}".format
)
def test_the_bar_falls_as_the_canvas_fills(settled: int, bar: float) -> None:
    """Of twelve places: thirds begin at four and eight. The mean counts, not the least."""
    left = 12 - settled
    uneven = [bar + 1, bar - 1] * (left // 2) + [bar] * (left % 2)
    assert settles(Prophet(4), uneven, settled) == left
    assert settles(Prophet(4), [gap - 0.1 for gap in uneven], settled) == 1


def test_only_the_answer_is_asked_and_everything_settles() -> None:
    """Places 8 and 9 of twelve are the answer; the others are open and unsure."""
    asks = Prophet(4, answer_first=8, answer_places=2)
    assert settles(asks, [0.0] * 8 + [8.0, 8.0] + [0.0] * 2, 0) == 12
    assert settles(asks, [9.0] * 8 + [7.0, 7.0] + [9.0] * 2, 0) == 1
    assert settles(asks, [0.0] * 2, 10) == 2, "a settled answer is decided"


def test_a_request_without_such_an_answer_is_never_cut_short() -> None:
    assert settles(Prophet(4, answer_first=40), [9.0] * 6, 0) == 1


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"per_step": 0}, "prophet needs per_step of 1 or more and bars that are numbers, got per_step 0"),
        ({"late": math.nan}, "late nan"),
        ({"answer_first": -1}, "got answer_first -1"),
        ({"answer_places": 0}, "at least one place, got answer_first 0, answer_places 0"),
    ],
)
def test_impossible_settings_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        Prophet(MASK, **knobs)
