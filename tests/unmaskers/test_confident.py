"""Confident decoding: the bar, and the grid of times behind it."""

from typing import Any

import pytest
import torch

from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.diffusion import Turn
from decant.noise import Noise
from decant.samplers.greedy import greedy
from decant.schedules.blocks import Blocks
from decant.schedules.full import Full
from decant.testing.canvases import HashLM
from decant.unmaskers.confident import Confident
from tests.unmaskers.outlooks import chosen, sure

MODEL = HashLM(vocab=7)
MASK = 11  # of `sure`


def due(opened: int, steps: int, left: int) -> int:
    """The paper's search, in exact arithmetic: the first time of the grid at which a place is due, and how many are."""
    for time in range(1, steps + 1):
        remain = opened * (steps - time)  # times `steps`
        count = (left * steps - remain) // steps
        if count >= 1:
            return count
    raise AssertionError("the grid ends with every place settled")


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 13, 40, None])
def test_the_grid_says_how_many(steps: int | None) -> None:
    for opened in range(1, 14):
        state = torch.tensor([opened])
        for left in range(1, opened + 1):
            seen = sure([0.5 - 0.01 * place for place in range(left)] + [0.0] * (opened - left))
            want = due(opened, opened if steps is None else steps, left)
            assert chosen(Confident(MASK, steps=steps), seen, state=state) == [set(range(want))]


@pytest.mark.parametrize("schedule", [Full(MODEL.mask), Blocks(MODEL.mask, 4)], ids=repr)
@pytest.mark.parametrize("steps", [1, 3, 5, 12, 30, None])
def test_it_ends_in_as_many_steps_as_the_grid_has(schedule: Any, steps: int | None) -> None:
    """Blocks cut steps short."""
    decoder = MaskedDiffusion(MODEL, Confident(MODEL.mask, 1.0, steps), schedule, NoCache(), greedy())
    state = decoder.start(right_pad([[1] + [MODEL.mask] * 12]), Noise.of([1]))
    passes = 0
    while bool((state.canvas_BL == MODEL.mask).any()):
        state, _ = decoder.step(state)
        passes += 1
    if isinstance(schedule, Full):
        assert passes == min(steps or 12, 12)
    assert 3 * isinstance(schedule, Blocks) <= passes <= 12


def test_the_bar_comes_first_and_is_strict() -> None:
    seen = sure([0.97, 0.5, 0.96, 0.94])
    assert chosen(Confident(MASK), seen) == [{0, 2}]
    assert chosen(Confident(MASK, steps=1), seen) == [{0, 2}]
    assert chosen(Confident(MASK, tau=0.98, steps=1), seen) == [{0, 1, 2, 3}]
    half = float(seen.confidence_BL[0, 1])
    assert chosen(Confident(MASK, tau=half), sure([0.5, 0.1, 0.1])) == [{0}], "by the grid"
    assert chosen(Confident(MASK, tau=half, steps=1), sure([0.5, 0.1, 0.1])) == [{0, 1, 2}], "0.5 is not above 0.5"


def test_a_quota_takes_the_grids_place_and_the_block_caps_it() -> None:
    seen = sure([0.5, 0.6, 0.7, 0.8])
    assert chosen(Confident(MASK, steps=1), seen, Turn(seen.asked_BL, torch.tensor([2]))) == [{2, 3}]
    assert chosen(Confident(MASK, steps=1), seen, Turn(seen.asked_BL, torch.tensor([0]))) == [{3}]
    assert chosen(Confident(MASK, steps=1), seen, Turn(seen.asked_BL & (torch.arange(4) < 2))) == [{0, 1}]
