"""What a lesson reads is what a decoder reads: the same places, under every convention."""

from typing import Any

import pytest
import torch
from torch import Tensor

from decant.errors import BadInput
from decant.models.masked.convention import Convention
from decant.models.masked.training import Readings, masked_logits
from decant.types import PAD
from tests.models.fillers import WORDS, Filler, filler

PROMPTS, PLACES = (5, 3), (11, 8)


@pytest.fixture(
    scope="module",
    params=[(False, False, None), (True, True, None), (False, True, 4), (True, True, 4), (True, True, 1)],
    ids=["open", "causal prompt", "blocks", "shifted blocks", "blocks of one"],
)
def tiny(request: pytest.FixtureRequest) -> Filler:
    return filler(*request.param)


def texts() -> tuple[Tensor, Tensor, Tensor]:
    """ids_BT, answer_BT, masked_VBT of two readings."""
    chance = torch.Generator().manual_seed(1)
    ids_BT = torch.randint(WORDS, (2, 16), generator=chance)
    answer_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    for row, (prompt, places) in enumerate(zip(PROMPTS, PLACES, strict=True)):
        answer_BT[row, prompt : prompt + places] = True
        ids_BT[row, prompt + places :] = PAD
    one_BT = answer_BT & (torch.rand(2, 16, generator=chance) < 0.5)
    return ids_BT, answer_BT, torch.stack([one_BT, answer_BT & ~one_BT])


def alone(tiny: Filler, ids_T: Tensor, masked_T: Tensor, prompt: int, place: int) -> Tensor:
    """logits_V of one place; blocks in front of its own are clean, and what the convention hides is not there."""
    convention, length = tiny.convention, int((ids_T != PAD).sum())
    block = convention.block or length
    first = prompt + (place - prompt) // block * block
    clean_T = torch.arange(len(ids_T)) < (first if convention.block else 0)
    canvas_T = ids_T.masked_fill(masked_T & ~clean_T, convention.mask_token_id)
    asked = (place - prompt, place - prompt)
    return tiny.logits(canvas_T[:length].tolist(), prompt=prompt, asked=asked)[place - int(convention.shift)]


def gap(tiny: Filler, convention: Convention) -> Tensor:
    """Of every place that is asked about, the largest difference."""
    ids_BT, answer_BT, masked_VBT = texts()
    network: Any = tiny.network
    with torch.inference_mode():
        have_NV = masked_logits(network, convention, Readings(ids_BT, answer_BT, masked_VBT, masked_VBT))
    want_NV = torch.stack(
        [
            alone(tiny, ids_BT[row], masked_VBT[view, row], PROMPTS[row], place)
            for view, row, place in masked_VBT.nonzero().tolist()
        ]
    )
    return (have_NV - want_NV)[:, :WORDS].abs().max(-1).values


def test_a_lesson_reads_what_a_decoder_reads(tiny: Filler) -> None:
    assert float(gap(tiny, tiny.convention).max()) < 0.15


def test_another_convention_reads_something_else(tiny: Filler) -> None:
    """Planted: the wrong shift, the wrong blocks."""
    said = tiny.convention
    others = [Convention(said.mask_token_id, not said.shift, said.causal_prompt, said.block)]
    if said.causal_prompt:
        others.append(Convention(said.mask_token_id, said.shift, True, 3))
    for other in others:
        assert float(gap(tiny, other).max()) > 0.5


def test_the_text_is_said_as_a_causal_model_says_it() -> None:
    tiny = filler(True, True, 4)
    ids_BT, answer_BT, masked_VBT = texts()
    network: Any = tiny.network
    with torch.inference_mode():
        readings = Readings(ids_BT, answer_BT, masked_VBT, masked_VBT, said_BT=answer_BT)
        have_MV = masked_logits(network, tiny.convention, readings)[int(masked_VBT.sum()) :]
        causal_BTV = network(ids_BT.clamp_min(0)).logits
    rows, places = answer_BT.nonzero(as_tuple=True)
    assert float((have_MV - causal_BTV[rows, places - 1])[:, :WORDS].abs().max()) < 0.15


def test_blocks_need_a_causal_prompt() -> None:
    with pytest.raises(BadInput, match="needs a causal prompt and blocks of at least one place"):
        Convention(7, block=4)
    with pytest.raises(BadInput, match="not causal_prompt True and block 0"):
        Convention(7, causal_prompt=True, block=0)
