"""Schedules and caches of models that fill in masks, by name."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.sampling import Sampling
from decant.caches.dkv_greedy import DkvGreedy
from decant.errors import BadInput, IncompatibleParts
from decant.models.load import Loaded, speller
from decant.models.masked.canvas import Canvas
from decant.models.masked.convention import Convention
from decant.noise import Noise
from decant.schedules.ada_block import AdaBlock
from decant.schedules.eos_rejection import EosRejection
from decant.unmaskers.random import Random

GREEDY = warp_of(Sampling(temperature=0.0))
MASK = 17


def chosen(spec: str, model: Loaded) -> Any:
    """The decoder."""
    return compose(spec, model, None, GREEDY).decoder


@pytest.fixture
def filling(target):
    """The target, as if it filled in masks."""
    return replace(target, masked=Canvas(target.model.network, Convention(MASK)))


def test_blocks_end_at_every_id_that_writes_a_newline(filling):
    schedule = chosen("ada-block:tau-d=0.5:block=16", filling).schedule
    assert isinstance(schedule, AdaBlock)
    assert (schedule.mask, schedule.tau_d, schedule.block) == (MASK, 0.5, 16)
    assert schedule.delimiters == {*filling.tokenizer.encode("\n")}, "this tokenizer merges none"


def test_tokens_that_merge_newlines_with_others_are_delimiters(filling):
    words = speller("house:target").tokenizer
    schedule = chosen("ada-block", replace(filling, tokenizer=words)).schedule
    want = {token for token in range(len(words)) if "\n" in words.decode([token], skip_special_tokens=True)}
    assert schedule.delimiters == want
    assert len(want) > 1, "none merges a newline: this test shows nothing"


def test_a_model_without_a_tokenizer_has_no_newlines(filling):
    with pytest.raises(BadInput, match="has no tokenizer files to know them by; take schedule=blocks"):
        chosen("ada-block", replace(filling, tokenizer=None))


def test_ends_are_the_models_own(filling):
    schedule = chosen("eos-rejection:ascending=on", filling).schedule
    assert schedule == EosRejection(MASK, filling.ends, ascending=True)


def test_a_cache_that_reads_an_order_needs_an_unmasker_that_keeps_it(filling):
    decoder = chosen("random:cache=dkv-greedy:per-step=2:neighbours=3", filling)
    assert (decoder.unmasker, decoder.refresh) == (Random(2), DkvGreedy(MASK, per_step=2, neighbours=3))
    with pytest.raises(IncompatibleParts, match="threshold decides by what it sees; take random:cache=dkv-greedy"):
        chosen("threshold:cache=dkv-greedy", filling)


@pytest.mark.parametrize("schedule", ["full", "blocks", "ada-block", "ascending", "eos-rejection"])
@pytest.mark.parametrize("cache", ["dual", "prefix", "dkv-decode", "free-cache"])
def test_schedules_and_caches_combine(filling, schedule, cache):
    decoder = chosen(f"threshold:schedule={schedule}:cache={cache}", filling)
    with torch.inference_mode():
        state = decoder.start(torch.tensor([[5, 6] + [MASK] * 6]), Noise.of([1]))
        while bool((state.canvas_BL == MASK).any()):
            state, _ = decoder.step(state)
    assert state.canvas_BL.shape == (1, 6)
