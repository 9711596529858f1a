"""A grammar over the tokens of a loaded model that fills in masks."""

import json
from dataclasses import replace

import pytest
import torch

from decant.apps.permitting import permits_of
from decant.caches.none import NoCache
from decant.decoders.generate import right_pad
from decant.decoders.masked_diffusion import MaskedDiffusion
from decant.errors import BadInput, IncompatibleParts
from decant.models.fast.lean import Lean
from decant.models.load import Loaded
from decant.models.masked.canvas import Canvas
from decant.models.masked.convention import Convention
from decant.noise import Noise
from decant.samplers.temperature import temperature
from decant.schedules.full import Full
from decant.unmaskers.low_confidence import LowConfidence


@pytest.fixture(scope="module")
def filler(target: Loaded) -> Loaded:
    assert target.tokenizer is not None
    assert isinstance(target.model.network, Lean)
    mask = target.tokenizer.convert_tokens_to_ids("<|pad|>")
    assert isinstance(mask, int)
    return replace(target, masked=Canvas(target.model.network, Convention(mask, shift=True)))


def test_what_a_model_says_is_json(filler: Loaded) -> None:
    assert filler.masked is not None
    permits, mask = permits_of("json", filler), filler.masked.mask
    loop = MaskedDiffusion(
        filler.masked, LowConfidence(per_step=2), Full(mask), NoCache(), temperature(1.0), 16, permits
    )
    with torch.inference_mode():
        state = loop.start(right_pad([filler.encode("Take 1, then add 2."), filler.encode("é")]), Noise.of([1, 2]))
        while bool((state.canvas_BL == mask).any()):
            state, _ = loop.step(state)
    for ids in state.canvas_BL.tolist():
        ended = next((at for at, token in enumerate(ids) if token in filler.ends), len(ids))
        json.loads(filler.decode(ids[:ended]))


def test_a_grammar_of_ones_own(filler: Loaded) -> None:
    assert filler.masked is not None
    permits, mask = permits_of('text: "yes" | "no"', filler), filler.masked.mask
    assert permits.fits([mask] * 3)
    assert permits.fits([*filler.encode("yes"), mask])
    assert not permits.fits([*filler.encode("maybe"), mask])
    assert not permits.fits([mask])


def test_what_cannot_be_permitted_is_refused(filler: Loaded, target: Loaded) -> None:
    with pytest.raises(IncompatibleParts, match="speaks from left to right"):
        permits_of("json", target)
    with pytest.raises(BadInput, match="no grammar is called 'jsn'; take json or c-toy"):
        permits_of("jsn", filler)
    with pytest.raises(BadInput, match="has no tokenizer files"):
        permits_of("json", replace(filler, tokenizer=None))
