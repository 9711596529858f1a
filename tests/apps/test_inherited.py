"""What a generation config has done to logits, as transformers does it, and what of it nothing honours."""

from typing import Any

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation.logits_process import SequenceBiasLogitsProcessor, SuppressTokensLogitsProcessor

from decant.apps.choosing import choose
from decant.apps.inherited import UNHONOURED, biased, suppressed, unhonoured
from decant.apps.sampling import Sampling
from decant.types import Draft

SAID_BT: Any = torch.tensor([[3, 1, 4], [1, 5, 9]])
LOGITS_BV: Any = torch.randn(2, 12, generator=torch.Generator().manual_seed(0))


def after(part) -> torch.Tensor:
    """The logits behind what was said."""
    return part.adjust(part.start(SAID_BT), Draft.nothing(2), LOGITS_BV[:, None])[:, 0]


def test_a_bias_is_that_of_transformers():
    said = [[[2], -3.0], [[7], 1.5]]
    (one,) = biased({"sequence_bias": said})
    torch.testing.assert_close(after(one.part), SequenceBiasLogitsProcessor(said)(SAID_BT, LOGITS_BV))
    assert (one.name, one.value) == ("sequence_bias", {2: -3.0, 7: 1.5})
    assert biased({"sequence_bias": {(2,): -3.0}})[0].value == {2: -3.0}, "older configs are mappings"


def test_suppressed_tokens_are_those_of_transformers():
    (one,) = suppressed({"suppress_tokens": [0, 11, 5, 5]}, 12)
    assert torch.equal(after(one.part), SuppressTokensLogitsProcessor([0, 11, 5])(SAID_BT, LOGITS_BV))
    assert suppressed({"suppress_tokens": [-1, 12]}, 12) == [], "ids that no logit has"


def test_they_stand_where_transformers_has_them(target):
    theirs = {"suppress_tokens": [7], "sequence_bias": [[[5], 2.0]], "repetition_penalty": 1.1, "bad_words_ids": [[3]]}
    chosen = choose(Sampling(presence_penalty=0.1), target, theirs)
    assert [one.name for one in chosen.applied] == [
        *("sequence_bias", "repetition_penalty", "presence_penalty", "bad_words", "suppress_tokens", "temperature"),
    ]
    assert {one.origin for one in chosen.applied if one.name != "presence_penalty"} == {
        "generation_config.json", "default",
    }  # fmt: skip
    assert chosen.facts()["suppress_tokens"] == "[7]", "another model's run is another run"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("begin_suppress_tokens", [3]),
        ("min_length", 5),
        ("forced_eos_token_id", 0),
        ("num_beams", 4),
        ("guidance_scale", 2.0),
        ("sequence_bias", [[[1, 2], 1.0]]),
        ("sequence_bias", [[[1], 500.0]]),
    ],
)
def test_what_nothing_honours_is_told(target, name, value):
    (one,) = unhonoured({name: value})
    assert one[:2] == (f"{name} of generation_config.json", value)
    assert one[2].startswith("not honoured: ")
    assert one in choose(Sampling(), target, {name: value}).unused


def test_what_changes_nothing_is_not_told():
    nothing = {"num_beams": 1, "min_length": 0, "guidance_scale": 1.0, "begin_suppress_tokens": [], "max_length": 20}
    assert unhonoured(nothing) == []
    assert unhonoured(GenerationConfig().to_dict()) == []


def test_every_name_is_one_of_transformers():
    assert {*UNHONOURED} <= {*GenerationConfig(exponential_decay_length_penalty=(5, 1.0)).to_dict()}
