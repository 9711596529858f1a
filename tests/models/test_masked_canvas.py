"""The canvas says what transformers says under a mask that is open everywhere, whatever is read from the store."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.decoders.generate import right_pad
from decant.diffusion import Fresh
from decant.errors import BadInput
from decant.models.masked.canvas import Canvas
from decant.types import PAD, join_rows
from tests.models.fillers import POSITIONS, WORDS, Filler, filler

CLOSE = {"rtol": 0, "atol": 2e-5}
PROMPTS = ([3, 1, 4, 1, 5], [9], [2, 6, 5])


@pytest.fixture(scope="module", params=[False, True], ids=["unshifted", "shifted"])
def shift(request: pytest.FixtureRequest) -> bool:
    return request.param


@pytest.fixture(scope="module", params=[(False,), (True,), (True, 4)], ids=["open", "causal prompt", "blocks"])
def tiny(shift: bool, request: pytest.FixtureRequest) -> Filler:
    return filler(shift, *request.param)


@pytest.fixture
def canvas_BL(tiny: Filler) -> Tensor:
    """Of 12, 7 and 9 places, about every other one open, some of the first among them."""
    chance = torch.Generator().manual_seed(1)
    rows_BL = torch.randint(0, WORDS, (3, 12), generator=chance)
    rows_BL[torch.rand(3, 12, generator=chance) < 0.5] = tiny.canvas.mask
    rows_BL[0, 0] = tiny.canvas.mask
    rows_BL[1, 7:] = rows_BL[2, 9:] = PAD
    return rows_BL


def said(model: Canvas, canvas_BL: Tensor, windows: list[Tensor], wanted_BL: Tensor | None = None) -> Tensor:
    """logits_NV of the last pass: a whole one, then one over each window."""
    wanted_BL = canvas_BL == model.mask if wanted_BL is None else wanted_BL
    with torch.inference_mode():
        state = model.start(right_pad(list(PROMPTS)), canvas_BL)
        state, logits_NV = model.predict(state, canvas_BL, Fresh.whole(canvas_BL), wanted_BL)
        for window_BL in windows:
            fresh = Fresh(torch.zeros(len(canvas_BL), dtype=torch.bool), window_BL & (canvas_BL != PAD))
            state, logits_NV = model.predict(state, canvas_BL, fresh, wanted_BL & window_BL)
    return logits_NV


def theirs(tiny: Filler, canvas_BL: Tensor, wanted_BL: Tensor) -> Tensor:
    """The same from transformers, each request alone, with places that are given, so that a canvas is one block; PAD
    inside is there, and read by nobody."""
    rows = []
    for prompt, canvas_L, wanted_L in zip(PROMPTS, canvas_BL, wanted_BL, strict=True):
        ids = [*prompt, *canvas_L.tolist()]
        unread = tuple(at for at, token in enumerate(ids) if token == PAD)
        logits_TV = tiny.logits([max(token, 0) for token in ids], unread, len(prompt))
        places = wanted_L.nonzero()[:, 0] + len(prompt) - int(tiny.convention.shift)
        rows.append(logits_TV[places])
    return torch.cat(rows)


def window(canvas_BL: Tensor, first: int, last: int) -> Tensor:
    return ((torch.arange(canvas_BL.shape[1]) >= first) & (torch.arange(canvas_BL.shape[1]) < last)).expand_as(
        canvas_BL
    )


def test_a_whole_pass_is_transformers_own(tiny, canvas_BL):
    wanted_BL = canvas_BL == tiny.canvas.mask
    torch.testing.assert_close(said(tiny.canvas, canvas_BL, []), theirs(tiny, canvas_BL, wanted_BL), **CLOSE)


def test_the_other_convention_says_something_else(tiny, canvas_BL):
    want = said(tiny.canvas, canvas_BL, [])
    for turned in ("shift", "causal_prompt"):
        other = replace(tiny.convention, block=None, **{turned: not getattr(tiny.convention, turned)})
        have = said(replace(tiny.canvas, convention=other), canvas_BL, [])
        assert (have - want).nan_to_num().abs().max() > 0.1


@dataclass
class Counted:
    """How many rows each pass computed."""

    lean: Any
    rows: list[int]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lean, name)

    def embedded(self, ids_R: Tensor) -> Tensor:
        self.rows.append(len(ids_R))
        return self.lean.embedded(ids_R)


@pytest.mark.parametrize("turned", ["nothing", "a place", "the last place"])
def test_only_what_may_change_is_computed_again(tiny, canvas_BL, turned):
    """Of one request; where a place was settled, its rows come out as they would from the start."""
    one_1L = canvas_BL[:1].fill_(tiny.canvas.mask)
    passes = Counted(tiny.canvas.lean, [])
    counted = replace(tiny.canvas, lean=passes)
    after_1L = one_1L.clone()
    if turned != "nothing":
        after_1L[0, 0 if turned == "a place" else 11] = 7
    wanted_1L = after_1L == tiny.canvas.mask
    with torch.inference_mode():
        state = counted.start(right_pad([PROMPTS[0]]), one_1L)
        state, _ = counted.predict(state, one_1L, Fresh.whole(one_1L), wanted_1L)
        _, have = counted.predict(state, after_1L, Fresh.whole(after_1L), wanted_1L)
        new = counted.start(right_pad([PROMPTS[0]]), one_1L)
        _, want = counted.predict(new, after_1L, Fresh.whole(after_1L), wanted_1L)
    torch.testing.assert_close(have, want, **CLOSE)
    convention, places = tiny.convention, int(wanted_1L.sum())
    first, again, whole = passes.rows
    causal = len(PROMPTS[0]) - int(convention.shift) if convention.causal_prompt else 0
    assert first >= whole - 1, "the first pass computes everything"
    if turned == "nothing":
        assert again == places, "only what says something"
    elif convention.block is None or turned == "a place":
        assert again == whole - causal
    else:
        assert again <= convention.block + places, "the last block, and what says something"
    reads = state.shelves[0].group_S
    assert int((reads == 0).sum()) == causal


def test_blocks_behind_the_last_wanted_one_wait(canvas_BL):
    tiny = filler(True, True, 4)
    passes = Counted(tiny.canvas.lean, [])
    counted = replace(tiny.canvas, lean=passes)
    one_1L = canvas_BL[:1].fill_(tiny.canvas.mask)
    with torch.inference_mode():
        state = counted.start(right_pad([PROMPTS[0]]), one_1L)
        for block in range(3):
            wanted_1L = window(one_1L, 4 * block, 4 * block + 4)
            state, have = counted.predict(state, one_1L, Fresh.whole(one_1L), wanted_1L)
            new = tiny.canvas.start(right_pad([PROMPTS[0]]), torch.full_like(one_1L, tiny.canvas.mask))
            _, want = tiny.canvas.predict(new, one_1L, Fresh.whole(one_1L), wanted_1L)
            torch.testing.assert_close(have, want, **CLOSE)
            ids, before = [*PROMPTS[0], *one_1L[0].tolist()], len(PROMPTS[0])
            logits_TV = tiny.logits(ids, prompt=before, asked=(4 * block, 4 * block + 3))
            torch.testing.assert_close(have, logits_TV[before + 4 * block - 1 :][:4], **CLOSE)
            one_1L = one_1L.masked_fill(wanted_1L, 7 + block)
    assert passes.rows == [8, 8, 8], "prompt and block; then the row in front, the block that was settled, and the next"


@pytest.mark.parametrize("then", [(0, 12), (5, 6), (4, 12), (0, 3)])
def test_blocks_that_are_asked_about_together_are_read_as_one(canvas_BL, then):
    """Also where they were read otherwise before."""
    tiny, (first, last) = filler(True, True, 4), then
    one_1L, before = canvas_BL[:1].fill_(tiny.canvas.mask), len(PROMPTS[0])
    with torch.inference_mode():
        state = tiny.canvas.start(right_pad([PROMPTS[0]]), one_1L)
        for window_1L in (window(one_1L, 4, 8), window(one_1L, first, last)):
            state, have = tiny.canvas.predict(state, one_1L, Fresh.whole(one_1L), window_1L)
    ids = [*PROMPTS[0], *one_1L[0].tolist()]
    want_TV = tiny.logits(ids, prompt=before, asked=(first, last - 1))
    torch.testing.assert_close(have, want_TV[before + first - 1 : before + last - 1], **CLOSE)


def test_nobody_says_the_mask(tiny, canvas_BL):
    assert bool((said(tiny.canvas, canvas_BL, [])[:, tiny.canvas.mask] == -torch.inf).all())


@pytest.mark.parametrize("bounds", [(0, 4), (3, 7), (6, 12)])
def test_a_window_behind_a_whole_pass_says_the_same(tiny, canvas_BL, bounds):
    open_BL, window_BL = canvas_BL == tiny.canvas.mask, window(canvas_BL, *bounds)
    want = theirs(tiny, canvas_BL, open_BL & window_BL)
    torch.testing.assert_close(said(tiny.canvas, canvas_BL, [window_BL]), want, **CLOSE)


def test_scattered_rows_and_any_order_of_windows_say_the_same(tiny, canvas_BL):
    even_BL = (torch.arange(12) % 2 == 0).expand_as(canvas_BL)
    want = theirs(tiny, canvas_BL, even_BL & (canvas_BL == tiny.canvas.mask))
    for windows in ([even_BL], [~even_BL, even_BL], [even_BL, ~even_BL, even_BL]):
        torch.testing.assert_close(said(tiny.canvas, canvas_BL, windows), want, **CLOSE)


@dataclass(frozen=True)
class FromTheWindow:
    """The planted bug: a window's positions are counted from its own first row."""

    angles: Any

    def at(self, position_R: Tensor, reach: int) -> tuple[Tensor, Tensor]:
        return self.angles.at(position_R - position_R.min(), reach)


def test_positions_are_absolute(tiny, canvas_BL):
    planted = replace(tiny.canvas, lean=replace(tiny.canvas.lean, angles=FromTheWindow(tiny.canvas.lean.angles)))
    window_BL = window(canvas_BL, 3, 7)
    want = theirs(tiny, canvas_BL, window_BL & (canvas_BL == tiny.canvas.mask))
    assert (said(planted, canvas_BL, [window_BL]) - want).nan_to_num().abs().max() > 0.1


def test_a_request_says_the_same_alone(tiny, canvas_BL):
    together, first = said(tiny.canvas, canvas_BL, []), 0
    for row, prompt in enumerate(PROMPTS):
        alone_1L = canvas_BL[row : row + 1, : int((canvas_BL[row] != PAD).sum())]
        with torch.inference_mode():
            state = tiny.canvas.start(right_pad([prompt]), alone_1L)
            _, logits_NV = tiny.canvas.predict(state, alone_1L, Fresh.whole(alone_1L), alone_1L == tiny.canvas.mask)
        torch.testing.assert_close(logits_NV, together[first : first + len(logits_NV)], **CLOSE)
        first += len(logits_NV)


def test_a_dropped_place_is_read_by_nobody_and_moves_none(tiny, canvas_BL):
    dropped_BL = canvas_BL.clone()
    dropped_BL[0, 5] = dropped_BL[2, 2] = PAD
    open_BL = dropped_BL == tiny.canvas.mask
    with torch.inference_mode():
        state = tiny.canvas.start(right_pad(list(PROMPTS)), canvas_BL)
        state, before = tiny.canvas.predict(state, canvas_BL, Fresh.whole(canvas_BL), open_BL)
        _, have = tiny.canvas.predict(state, dropped_BL, Fresh.whole(dropped_BL), open_BL)
    torch.testing.assert_close(have, theirs(tiny, dropped_BL, open_BL), **CLOSE)
    assert (have - before).nan_to_num().abs().max() > 1e-3, "the place did not matter: this test shows nothing"


def test_a_copied_request_has_a_store_of_its_own(tiny, canvas_BL):
    one_1L = canvas_BL[:1]
    other_1L = one_1L.where(one_1L == tiny.canvas.mask, 7)
    window_1L = window(one_1L, 8, 12)
    wanted_1L = window_1L & (one_1L == tiny.canvas.mask)
    part = Fresh(torch.zeros(1, dtype=torch.bool), window_1L)
    with torch.inference_mode():
        state = tiny.canvas.start(right_pad([PROMPTS[0]]), one_1L)
        state, _ = tiny.canvas.predict(state, one_1L, Fresh.whole(one_1L), wanted_1L)
        _, want = tiny.canvas.predict(state, one_1L, part, wanted_1L)
        twice = state.select(torch.tensor([0, 0]))
        apart = join_rows(twice.select(torch.tensor([1])), twice.select(torch.tensor([0])))
        tiny.canvas.predict(apart.select(torch.tensor([0])), other_1L, Fresh.whole(other_1L), wanted_1L)
        _, have = tiny.canvas.predict(apart.select(torch.tensor([1])), one_1L, part, wanted_1L)
    torch.testing.assert_close(have, want, **CLOSE)


def test_what_does_not_fit_is_refused(tiny):
    too_many = torch.full((1, POSITIONS), tiny.canvas.mask)
    with pytest.raises(BadInput, match=f"2 tokens and {POSITIONS} places to fill are more than the {POSITIONS}"):
        tiny.canvas.start(torch.tensor([[1, 2]]), too_many)
    nothing = torch.empty(1, 0, dtype=torch.int64)
    if tiny.convention.shift:
        with pytest.raises(BadInput, match="put at least one token in front"):
            tiny.canvas.start(nothing, too_many[:, :3])
    else:
        tiny.canvas.start(nothing, too_many[:, :3])
