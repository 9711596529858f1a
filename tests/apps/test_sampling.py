import math

import pytest
import torch

from decant.apps.compose import warp_of
from decant.apps.sampling import Sampling
from decant.errors import BadInput
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p

LOGITS_XV = 3 * torch.randn(4, 11, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -0.5}, r"temperature is 0 \(greedy\) or more, got -0.5"),
        ({"temperature": math.nan}, r"temperature is 0 \(greedy\) or more, got nan"),
        ({"temperature": math.inf}, r"temperature is 0 \(greedy\) or more, got inf"),
        ({"top_k": -1}, r"top_k is 0 \(keep all tokens\) or more, got -1"),
        ({"top_p": 0.0}, r"top_p lies in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"top_p lies in \(0, 1\], got 1.5"),
        ({"min_p": -0.1}, r"min_p lies in \[0, 1\], got -0.1"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(BadInput, match=message):
        Sampling(**settings)


def test_temperature_zero_is_argmax():
    warped_XV = warp_of(Sampling(temperature=0.0, top_k=5))(LOGITS_XV)
    assert torch.equal(warped_XV.isfinite().sum(-1), torch.ones(4, dtype=torch.int64))
    assert torch.equal(warped_XV.argmax(-1), LOGITS_XV.argmax(-1))


def test_warps_come_in_the_order_of_transformers():
    warped_XV = warp_of(Sampling(temperature=0.7, top_k=6, top_p=0.8, min_p=0.05))(LOGITS_XV)
    expected_XV = LOGITS_XV
    for step in (temperature(0.7), top_k(6), top_p(0.8), min_p(0.05)):
        expected_XV = step(expected_XV)
    assert torch.equal(warped_XV, expected_XV)
    other_XV = temperature(0.7)(min_p(0.05)(top_p(0.8)(top_k(6)(LOGITS_XV))))
    assert not torch.equal(warped_XV.isfinite(), other_XV.isfinite()), "the order must show on these logits"


def test_settings_that_do_nothing_leave_logits_alone():
    assert torch.equal(warp_of(Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0))(LOGITS_XV), LOGITS_XV)


def test_what_is_given_wins_over_the_models_defaults():
    theirs = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20}
    assert Sampling(top_p=0.5).settled(theirs) == Sampling(0.6, 20, 0.5, None)
    assert Sampling(temperature=0.0).settled(theirs).temperature == 0.0


def test_a_model_that_does_not_sample_is_greedy():
    assert Sampling().settled({"temperature": 0.6, "top_k": 20}) == Sampling(temperature=0.0)
    assert Sampling().settled({}) == Sampling(temperature=0.0)
    assert Sampling().settled({"do_sample": True}) == Sampling(temperature=1.0)


def test_a_setting_of_the_sampler_asks_for_sampling():
    assert Sampling(top_k=5).settled({}) == Sampling(temperature=1.0, top_k=5)
