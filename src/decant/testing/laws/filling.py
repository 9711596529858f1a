"""The law of filling in: what every decoder of canvases keeps, whatever its parts."""

from typing import Any

import torch
from torch import Tensor

from decant.decoders.generate import right_pad
from decant.noise import Noise
from decant.protocols import Decoder
from decant.types import PAD, join_rows, select_rows

PROMPTS = ([1, 2, 3], [4], [2, 2, 5, 1])
PLACES = (11, 7, 9)
GIVEN = ((4, 3), (2, 5), (8, 1))  # a place of each canvas that is given, and what it holds
TURNS = 200  # more passes than any method needs here


def check_filling(decoder: Decoder[Any], mask: int) -> None:
    """Given places stay, none is open in the end, every place is told once, and as it is; a request says the same
    alone, in company, twice, and after it has joined others. Raises AssertionError, naming the law."""
    prompts = [[*prompt, *([mask] * count)] for prompt, count in zip(PROMPTS, PLACES, strict=True)]
    for prompt, asked, (place, token) in zip(prompts, PROMPTS, GIVEN, strict=True):
        prompt[len(asked) + place if place else len(asked) + 1] = token
    seeds = [5, 6, 7]
    together = _decoded(decoder, prompts, seeds, mask)
    for row, (canvas, (place, token)) in enumerate(zip(together, GIVEN, strict=True)):
        assert canvas[place] == token, f"a given place changed: {canvas}"
        assert mask not in canvas, f"a place is open in the end: {canvas}"
        assert len(canvas) <= PLACES[row], f"the answer is longer than its canvas: {canvas}"
        alone = _decoded(decoder, [prompts[row]], [seeds[row]], mask)[0]
        assert alone == canvas, f"request {row} says {alone} alone and {canvas} in company"
    assert _decoded(decoder, prompts, seeds, mask) == together, "the same seed says something else the second time"
    assert _joined(decoder, prompts, seeds, mask) == together, "a request that joined others says something else"


def _decoded(decoder: Decoder[Any], prompts: list[list[int]], seeds: list[int], mask: int) -> list[list[int]]:
    with torch.inference_mode():
        state = decoder.start(right_pad(prompts), Noise.of(seeds))
        return _to_the_end(decoder, state, mask, [{} for _ in prompts])


def _joined(decoder: Decoder[Any], prompts: list[list[int]], seeds: list[int], mask: int) -> list[list[int]]:
    """The first request makes two steps before the others join; then the rows are turned round."""
    with torch.inference_mode():
        told: list[dict[int, int]] = [{} for _ in prompts]
        state = decoder.start(right_pad(prompts[:1]), Noise.of(seeds[:1]))
        for _ in range(2):
            state = _step(decoder, state, told[:1])
        state = join_rows(state, decoder.start(right_pad(prompts[1:]), Noise.of(seeds[1:])))
        state = select_rows(state, torch.tensor([2, 1, 0]))
        return _to_the_end(decoder, state, mask, told[::-1])[::-1]


def _to_the_end(decoder: Decoder[Any], state: Any, mask: int, told: list[dict[int, int]]) -> list[list[int]]:
    for _ in range(TURNS):
        if not bool((state.canvas_BL == mask).any()):
            break
        state = _step(decoder, state, told)
    canvases = [[token for token in row if token != PAD] for row in state.canvas_BL.tolist()]
    for canvas_L, said in zip(state.canvas_BL.tolist(), told, strict=True):
        there = {place: token for place, token in enumerate(canvas_L) if token != PAD}
        assert said == there or mask in canvas_L, f"steps told {said}, the canvas holds {there}"
    return canvases


def _step(decoder: Decoder[Any], state: Any, told: list[dict[int, int]]) -> Any:
    before: Tensor = state.canvas_BL
    state, step = decoder.step(state)
    assert not bool(((before == PAD) & (state.canvas_BL != PAD)).any()), "a dropped place came back"
    for row, (tokens, places) in enumerate(zip(step.tokens_BC.tolist(), step.positions_BC.tolist(), strict=True)):
        for token, place in zip(tokens, places, strict=True):
            if token != PAD:
                assert place not in told[row], f"place {place} was told twice"
                told[row][place] = token
    return state
