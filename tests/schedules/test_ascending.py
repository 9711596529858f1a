from dataclasses import replace
from itertools import chain
from math import floor, log2

import pytest
import torch

from decant.errors import BadInput
from decant.noise import Noise
from decant.schedules.ascending import Ascending
from decant.unmaskers.threshold import Threshold
from tests.caches.recorded import MASK, REFERENCE, said


def steps(schedule: Ascending, places: int, given: tuple[int, ...] = ()) -> list[list[int]]:
    """Places that each step settles."""
    decoder = replace(REFERENCE, schedule=schedule)
    canvas = [0 if place in given else MASK for place in range(places)]
    with torch.inference_mode():
        state, found = decoder.start(torch.tensor([[1, 2, MASK, *canvas[1:]]]), Noise.of([1])), []
        while bool((state.canvas_BL == MASK).any()):
            before_BL = state.canvas_BL
            state, _ = decoder.step(state)
            found.append((before_BL != state.canvas_BL)[0].nonzero()[:, 0].tolist())
    return found


def test_steps_double() -> None:
    assert list(map(len, steps(Ascending(MASK), 128))) == [1, 2, 4, 8, 16, 32, 65]


@pytest.mark.parametrize("blocks", [1, 2, 3, 9])
@pytest.mark.parametrize("places", [1, 2, 3, 4, 7, 8, 15, 16, 31])
def test_there_are_as_many_steps_as_doublings(places: int, blocks: int) -> None:
    counts = list(map(len, steps(Ascending(MASK, blocks), places)))
    assert sum(counts) == places
    assert counts == sorted(counts)
    assert len(counts) == max(1, floor(log2(places)))


def test_the_last_blocks_take_a_step_each() -> None:
    """Of 33 places in three blocks: 7 in the steps 1, 2, 4; then 8; then 18."""
    found = steps(Ascending(MASK, blocks=3), 33)
    assert list(map(len, found)) == [1, 2, 4, 8, 18]
    assert sorted(chain(*found[:3])) == [*range(7)]
    assert sorted(found[3]) == [*range(7, 15)]
    assert sorted(found[4]) == [*range(15, 33)]
    assert steps(Ascending(MASK), 33)[0] != [0], "without blocks the whole canvas is open: this test shows nothing"


def test_given_places_do_not_count() -> None:
    found = steps(Ascending(MASK, blocks=2), 12, given=(2, 5, 6, 11))
    assert list(map(len, found)) == [1, 2, 5]
    assert sorted(chain(*found[:2])) == [0, 1, 3]


def test_an_unmasker_that_heeds_no_quota_fills_block_after_block() -> None:
    decoder = replace(REFERENCE, schedule=Ascending(MASK, blocks=3), unmasker=Threshold(0.5))
    assert MASK not in said(decoder, [[1] + [MASK] * 20], [1])[0]


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="there is at least one block, not 0"):
        Ascending(MASK, blocks=0)
