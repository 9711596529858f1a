from dataclasses import replace

import pytest
import torch

from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.errors import BadInput
from decant.noise import Noise
from decant.schedules.ada_block import AdaBlock
from decant.schedules.blocks import Blocks
from decant.types import PAD
from decant.unmaskers.threshold import Threshold
from tests.caches.recorded import MASK as HASH_MASK
from tests.caches.recorded import REFERENCE, said
from tests.schedules.outlooks import MASK, outlook

NEWLINES = frozenset({2, 3})
OPEN_1L = torch.full((1, 20), MASK)


def planned(schedule: AdaBlock, sure: dict[int, tuple[int, float]], settled: int = 0) -> list[int]:
    """Places of the block that begins behind `settled` ones."""
    canvas_BL = OPEN_1L.clone()
    canvas_BL[0, :settled] = 1
    state = schedule.start(OPEN_1L)
    scope = schedule.scope(state, canvas_BL)
    turn, state = schedule.turn(state, scope, outlook(canvas_BL, scope, sure))
    block = turn.eligible_BL[0].nonzero()[:, 0].tolist()
    assert schedule.scope(state, canvas_BL).block_BL[0].nonzero()[:, 0].tolist() == block, "the plan is kept"
    return block


def test_a_block_ends_at_the_surest_delimiter_not_at_the_nearest() -> None:
    schedule = AdaBlock(MASK, NEWLINES, tau_d=0.3, window_share=0.5, block=4)
    assert planned(schedule, {2: (2, 0.4), 6: (3, 0.6)}) == [*range(7)]
    assert planned(schedule, {2: (2, 0.6), 6: (3, 0.4)}) == [0, 1, 2]
    assert planned(schedule, {8: (2, 0.6)}, settled=3) == [*range(3, 9)]


def test_without_a_sure_delimiter_in_the_window_it_has_its_length() -> None:
    schedule = AdaBlock(MASK, NEWLINES, tau_d=0.5, window_share=0.25, block=8)
    assert planned(schedule, {}) == [*range(8)]
    assert planned(schedule, {3: (2, 0.4)}) == [*range(8)], "not sure enough"
    assert planned(schedule, {3: (1, 0.9)}) == [*range(8)], "no delimiter"
    assert planned(schedule, {6: (2, 0.9)}) == [*range(8)], "behind the window of five"
    assert planned(schedule, {3: (2, 0.5)}) == [*range(4)]
    assert planned(schedule, {}, settled=15) == [*range(15, 20)]


def test_its_first_pass_is_the_blocks_own() -> None:
    """One place a step: as many passes as places, and every block but the last ends as it was planned."""
    schedule = AdaBlock(HASH_MASK, {1, 2}, tau_d=0.2, window_share=0.5, block=3)
    passes, ends = 0, set()
    decoder = replace(REFERENCE, schedule=schedule)
    with torch.inference_mode():
        state = decoder.start(torch.tensor([[1, 2] + [HASH_MASK] * 14]), Noise.of([1]))
        while bool((state.canvas_BL == HASH_MASK).any()):
            state, _ = decoder.step(state)
            plan, passes = state.schedule, passes + 1
            ends.add(int(plan.end_B))
            assert bool((state.canvas_BL[0, : int(plan.begin_B)] != HASH_MASK).all()), "a block left places open"
            assert bool((state.canvas_BL[0, min(14, int(plan.end_B)) :] == HASH_MASK).all()), "places behind it settled"
    assert passes == 14
    lengths = [end - begin for begin, end in zip([0, *sorted(ends)], sorted(ends), strict=False)]
    assert len({*lengths}) > 1, "no newline decided anything: this test shows nothing"


@pytest.mark.parametrize("unmasker", [REFERENCE.unmasker, Threshold(tau=0.6)], ids=repr)
def test_a_bar_that_nothing_clears_gives_blocks_of_one_length(unmasker) -> None:
    prompts = [[1, 2] + [HASH_MASK] * 14, [3] + [HASH_MASK] * 9]

    def ids(schedule) -> list[list[int]]:
        decoder: MaskedDiffusion = replace(REFERENCE, schedule=schedule, unmasker=unmasker)
        return said(decoder, prompts, [1, 2])

    assert ids(AdaBlock(HASH_MASK, {0, 1, 2}, tau_d=1.1, block=4)) == ids(Blocks(HASH_MASK, 4))
    assert ids(AdaBlock(HASH_MASK, {0, 1, 2}, tau_d=0.1, block=4)) != ids(Blocks(HASH_MASK, 4))


def test_a_place_that_opens_again_joins_the_block() -> None:
    schedule = AdaBlock(MASK, NEWLINES, tau_d=1.1, block=4)
    canvas_BL = OPEN_1L.clone()
    canvas_BL[0, :5] = 1
    state = schedule.start(OPEN_1L)
    scope = schedule.scope(state, canvas_BL)
    _, state = schedule.turn(state, scope, outlook(canvas_BL, scope, {}))
    canvas_BL[0, 2], canvas_BL[0, 3] = MASK, PAD
    scope = schedule.scope(state, canvas_BL)
    assert scope.block_BL[0].nonzero()[:, 0].tolist() == [2, 4, 5, 6, 7, 8]
    assert scope.wanted_BL[0].nonzero()[:, 0].tolist() == [2, 5, 6, 7, 8]


def test_knobs_out_of_range_are_refused() -> None:
    with pytest.raises(BadInput, match="a block has at least one place, not 0"):
        AdaBlock(MASK, NEWLINES, block=0)
    with pytest.raises(BadInput, match=r"window_share is a share of the canvas between 0 and 1, got 1\.5"):
        AdaBlock(MASK, NEWLINES, window_share=1.5)
    with pytest.raises(BadInput, match="tau_d is a probability of 0 or more, got -1"):
        AdaBlock(MASK, NEWLINES, tau_d=-1.0)
