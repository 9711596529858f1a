"""How much each cache computes, pass by pass: what its card says."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from decant.caches.dkv_decode import DkvDecode
from decant.caches.dkv_greedy import DkvGreedy
from decant.caches.dual import Dual
from decant.caches.free_cache import FreeCache
from decant.caches.prefix import Prefix
from decant.diffusion import Fresh, Scope
from decant.noise import Noise
from decant.schedules.ada_block import AdaBlock
from decant.schedules.full import Full
from decant.unmaskers.random import Random
from tests.caches.recorded import MASK, recorded


def counts(passes: list[tuple[Tensor, Fresh]]) -> list[int]:
    return [int(fresh.answer_BL.sum()) for _, fresh in passes]


def prompts(passes: list[tuple[Tensor, Fresh]]) -> list[int]:
    """Passes that compute the prompt."""
    return [at for at, (_, fresh) in enumerate(passes) if bool(fresh.prompt_B.any())]


def test_windows_of_blocks() -> None:
    """Twelve places in blocks of four, one place a step."""
    assert counts(recorded(Dual())) == [12, 4, 4, 4] * 3
    assert counts(recorded(Prefix())) == [12, 12, 12, 12, 12, 8, 8, 8, 12, 4, 4, 4]
    assert prompts(recorded(Dual())) == prompts(recorded(Prefix())) == [0, 4, 8]


def test_a_block_that_is_planned_in_its_first_pass_is_refreshed_once() -> None:
    passes = recorded(Dual(), schedule=AdaBlock(MASK, {1, 2}, tau_d=0.2, window_share=0.5, block=3))
    whole = [at for at, count in enumerate(counts(passes)) if count == 12]
    settled = [int((canvas_BL != MASK).sum()) for canvas_BL, _ in passes]
    assert prompts(passes) == whole
    assert [settled[at] for at in whole[1:]] == sorted({settled[at] for at in whole[1:]})
    assert len(whole) < len(passes)


def test_what_is_frozen_never_shrinks() -> None:
    """A block's places are computed once more by the pass behind its last step."""
    assert counts(recorded(FreeCache(MASK))) == [12, 12, 12, 12, 12, 8, 8, 8, 8, 4, 4, 4]
    more: tuple[dict[str, Any], ...] = ({}, {"schedule": Full(MASK)}, {"schedule": Full(MASK), "unmasker": Random(2)})
    for parts in more:
        sizes = counts(recorded(FreeCache(MASK, aggressive=True), **parts))
        assert sizes == sorted(sizes, reverse=True)
        assert prompts(recorded(FreeCache(MASK, aggressive=True), **parts)) == [0]
    assert counts(recorded(FreeCache(MASK), schedule=Full(MASK))) == [12] * 12


def test_dkv_decode_computes_masks_and_what_was_just_settled() -> None:
    passes = recorded(DkvDecode(MASK, refresh_every=4), schedule=Full(MASK))
    whole = [0, 1, 4, 8]
    assert prompts(passes) == whole
    for at, (count, (canvas_BL, _)) in enumerate(zip(counts(passes), passes, strict=True)):
        just = 1 if at else 0
        assert count == (12 if at in whole else int((canvas_BL == MASK).sum()) + just)
    assert prompts(recorded(DkvDecode(MASK, refresh_every=99))) == [0, 1, 4, 5, 8, 9], "a block begins anew"


def test_dkv_greedy_computes_as_much_on_any_canvas() -> None:
    for per_step, around in ((1, 4), (2, 1), (3, 0)):
        cache, parts = DkvGreedy(MASK, per_step, around, 3), {"unmasker": Random(per_step), "schedule": Full(MASK)}
        for places in (12, 24):
            passes = recorded(cache, places, **parts)
            for at, count in enumerate(counts(passes)):
                assert count == places if at % 3 == 0 else count <= per_step + per_step * (1 + around)
        assert max(counts(passes)[1:3]) == per_step * (2 + around), "the middle of a canvas has neighbours enough"


def test_dkv_greedy_knows_what_settles_next() -> None:
    passes = recorded(DkvGreedy(MASK, 2, 0, 99), unmasker=Random(2), schedule=Full(MASK))
    for (before_BL, fresh), (after_BL, _) in pairwise(passes[1:]):
        settled_BL = before_BL != after_BL
        assert bool((fresh.answer_BL | ~settled_BL).all())
        # Nor is more asked about than settles: that is what it saves.
        assert fresh.asked_BL is not None
        assert fresh.asked_BL.equal(settled_BL)


def test_neighbours_are_the_nearest_open_places_left_first() -> None:
    """Next is place 5; of 0 ... 9 the places 4 and 8 are settled."""
    cache = DkvGreedy(MASK, per_step=1, neighbours=3, refresh_every=99)
    canvas_BL = torch.full((1, 10), MASK)
    state = cache.start(canvas_BL, Noise.of([1]))
    score_BL = torch.zeros(1, 10, dtype=torch.float64)
    score_BL[0, 5] = 1.0
    state = replace(state, score_BL=score_BL)
    _, state = cache.fresh(state, canvas_BL, Scope(canvas_BL != -1, canvas_BL == MASK))
    canvas_BL[0, 4] = canvas_BL[0, 8] = 0
    fresh, _ = cache.fresh(replace(state, open_BL=canvas_BL == MASK), canvas_BL, Scope(canvas_BL != -1, canvas_BL < 0))
    assert fresh.answer_BL[0].nonzero()[:, 0].tolist() == [3, 5, 6, 7]
