import math

import pytest
import torch

from decant.apps.choosing import warp_of
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
        ({"typical_p": 0.0}, r"typical_p lies in \(0, 1\], got 0.0; 1 keeps every token"),
        ({"eta_cutoff": 1.0}, r"eta_cutoff lies in \[0, 1\), got 1.0; 0 keeps every token"),
        ({"epsilon_cutoff": -1.0}, r"epsilon_cutoff lies in \[0, 1\), got -1.0"),
        ({"top_h": 1.1}, r"top_h lies in \(0, 1\], got 1.1; leave it out to keep every token"),
        ({"top_n_sigma": -1.0}, r"top_n_sigma is 0 \(keep all tokens\) or more, got -1.0"),
        ({"xtc_probability": 2.0}, r"xtc_probability lies in \[0, 1\], got 2.0; 0 never excludes"),
        ({"xtc_probability": 0.5, "xtc_threshold": 0.0}, r"xtc_threshold lies in \(0, 1\], got 0.0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is more than 0, got 0.0; 1 changes nothing"),
        ({"repetition_penalty": math.inf}, "repetition_penalty is more than 0, got inf"),
        ({"presence_penalty": 2.5}, r"presence_penalty lies in \[-2, 2\], got 2.5; 0 changes nothing"),
        ({"frequency_penalty": -3.0}, r"frequency_penalty lies in \[-2, 2\], got -3.0"),
        ({"no_repeat_ngram_size": -1}, r"no_repeat_ngram_size is 0 \(any may come again\) or more, got -1"),
        ({"dry_multiplier": -0.1}, r"dry_multiplier is 0 \(off\) or more, got -0.1"),
        ({"dry_multiplier": 1.0, "dry_base": 0.5}, "dry_base is 1 or more, got 0.5; 1.75 is usual"),
        ({"dry_multiplier": 1.0, "dry_allowed_length": 0}, r"dry_allowed_length lies in \[1, 50\], got 0; 2 is usual"),
        ({"mirostat": 3}, r"mirostat is 0 \(off\), 1 or 2, got 3"),
        ({"mirostat": 2, "mirostat_tau": 0.0}, "mirostat_tau is more than 0 bits, got 0.0; 5 is usual"),
        ({"mirostat": 2, "mirostat_eta": -1.0}, "mirostat_eta is more than 0, got -1.0; 0.1 is usual"),
        ({"logit_bias": {3: 101.0}}, r"logit_bias lies in \[-100, 100\], got 101.0 for token 3"),
        ({"logit_bias": {3: math.nan}}, r"logit_bias lies in \[-100, 100\], got nan for token 3"),
        ({"bad_words": ["never", " "]}, "one of bad_words is empty, which would forbid everything"),
        ({"bad_words": [[]]}, "one of bad_words is empty"),
        ({"dry_base": 2.0}, "dry_base goes with dry_multiplier, which was not given; give both or neither"),
        ({"xtc_threshold": 0.1}, "xtc_threshold goes with xtc_probability"),
        ({"mirostat_tau": 3.0}, "mirostat_tau goes with mirostat"),
        ({"mirostat": 1, "top_k": 5, "min_p": 0.1}, "mirostat 1 decides by itself .* leave out top_k and min_p"),
        ({"mirostat": 2, "temperature": 0.0}, "mirostat 2 draws, but temperature 0 is greedy"),
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


def test_settings_that_change_nothing_go_with_mirostat():
    assert Sampling(mirostat=2, top_k=0, top_p=1.0).settled({}).temperature == 1.0
    assert Sampling(mirostat=0, top_k=5).settled({}).top_k == 5


def test_mirostat_takes_the_place_of_the_models_cuts():
    settled = Sampling(mirostat=2).settled({"do_sample": True, "temperature": 0.6, "top_k": 20})
    assert settled == Sampling(0.6, mirostat=2)


def test_penalties_of_a_model_count_for_greedy_text_too():
    theirs = {"repetition_penalty": 1.1, "no_repeat_ngram_size": 4, "bad_words_ids": [[5, 6]], "top_k": 20}
    settled = Sampling(no_repeat_ngram_size=0).settled(theirs)
    assert settled == Sampling(0.0, repetition_penalty=1.1, no_repeat_ngram_size=0, bad_words=[[5, 6]])


def test_where_each_setting_is_from():
    theirs = {"do_sample": True, "top_k": 20, "typical_p": 0.9, "repetition_penalty": 1.1}
    asked = Sampling(top_k=5)
    origins = [asked.origin(name, theirs) for name in ("top_k", "typical_p", "repetition_penalty", "temperature")]
    assert origins == ["given", "generation_config.json", "generation_config.json", "default"]
    assert asked.origin("typical_p", {**theirs, "do_sample": False}) == "default"


def test_a_wrong_generation_config_is_named():
    with pytest.raises(BadInput, match=r"generation_config\.json is wrong: repetition_penalty is more than 0, got -1"):
        Sampling().settled({"repetition_penalty": -1})


def test_reports_hold_what_was_given_and_are_json():
    facts = Sampling(0.5, logit_bias={3: -1.0}, bad_words=("no",)).facts()
    assert facts == {
        "temperature": 0.5, "top_k": None, "top_p": None, "min_p": None, "logit_bias": {"3": -1.0}, "bad_words": ["no"],
    }  # fmt: skip
