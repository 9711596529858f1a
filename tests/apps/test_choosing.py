"""What settings do to logits: in which order, over which tokens, and where each value comes from."""

import json
import shutil
from dataclasses import fields, replace

import pytest
import torch

from decant.apps.api import More
from decant.apps.choosing import Applied, choose, history_of, refuse_history, refuse_stops, warp_of, warps_of
from decant.apps.cli.choosing import Flags
from decant.apps.sampling import NAMES, Sampling
from decant.constraints.bad_words import BadWords
from decant.constraints.dry import DRY
from decant.constraints.grammar import Choice, Json, Regex
from decant.constraints.mirostat import Mirostat
from decant.constraints.repetition_penalty import RepetitionPenalty
from decant.constraints.several import Several
from decant.constraints.unconstrained import Unconstrained
from decant.errors import BadInput
from decant.models.load import load
from decant.samplers.epsilon import epsilon
from decant.samplers.eta import eta
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_h import top_h
from decant.samplers.top_k import top_k
from decant.samplers.top_n_sigma import top_n_sigma
from decant.samplers.top_p import top_p
from decant.samplers.typical import typical
from decant.samplers.xtc import xtc

LOGITS_XV = 3 * torch.randn(6, 60, generator=torch.Generator().manual_seed(0))
EVERY_CUT = Sampling(0.9, 30, 0.97, 1e-3, 0.95, 2e-3, 1e-3, 0.95, 2.5, 0.5)
EVERY_PENALTY = Sampling(
    repetition_penalty=1.2, presence_penalty=0.1, frequency_penalty=0.1, no_repeat_ngram_size=3, dry_multiplier=0.8,
    logit_bias={3: 1.0}, bad_words=["add"],
)  # fmt: skip


def test_every_cut_acts_and_in_the_order_of_transformers():
    steps = [
        *(temperature(0.9), top_n_sigma(2.5), top_h(0.95), top_k(30), top_p(0.97), min_p(1e-3), typical(0.95)),
        *(epsilon(1e-3), eta(2e-3), xtc(0.5, 0.1)),
    ]
    expected_XV = LOGITS_XV
    for step in steps:
        expected_XV = step(expected_XV)
    assert torch.equal(warp_of(EVERY_CUT)(LOGITS_XV), expected_XV)
    assert [name for name, _ in warps_of(EVERY_CUT)] == [
        *("temperature", "top_n_sigma", "top_h", "top_k", "top_p", "min_p", "typical_p"),
        *("epsilon_cutoff", "eta_cutoff", "xtc_probability"),
    ]


def test_penalties_act_in_one_order_and_each_gets_its_value(target):
    steps = history_of(EVERY_PENALTY, target)
    assert [name for name, _ in steps] == [
        *("logit_bias", "repetition_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier"),
        *("no_repeat_ngram_size", "bad_words"),
    ]
    dry = dict(steps)["dry_multiplier"]
    assert isinstance(dry, DRY)
    assert (dry.multiplier, dry.growth, dry.allowed_length) == (0.8, 1.75, 2)
    assert target.tokenizer.convert_tokens_to_ids(":") in dry.breakers


def test_bad_words_are_spelt_with_and_without_a_space(target):
    (_, words) = history_of(Sampling(bad_words=["add", [7, 8]]), target)[0]
    assert isinstance(words, BadWords)
    assert (7, 8) in words.sequences
    assert {target.decode(list(ids)).strip() for ids in words.sequences if ids != (7, 8)} == {"add"}
    assert len(words.sequences) == 3


def test_as_much_as_is_needed_and_no_more(target):
    nothing = Sampling(
        repetition_penalty=1.0, presence_penalty=0.0, no_repeat_ngram_size=0, dry_multiplier=0.0, logit_bias={},
        bad_words=[], mirostat=0,
    )  # fmt: skip
    assert choose(nothing, target, {}).constraint == Unconstrained()
    assert choose(Sampling(repetition_penalty=1.2), target, {}).constraint == RepetitionPenalty(1.2)
    assert isinstance(choose(EVERY_PENALTY, target, {}).constraint, Several)


def test_mirostat_brings_temperature_and_cut_itself(target):
    chosen = choose(Sampling(0.7, mirostat=1, presence_penalty=0.5), target, {"do_sample": True, "top_k": 5})
    assert torch.equal(chosen.warp(LOGITS_XV), LOGITS_XV)
    assert chosen.constraint.parts[-1] == Mirostat(5.0, 0.1, 1, 0.7)
    assert chosen.unused == (("top_k of generation_config.json", 5, "mirostat stands in its place"),)


def test_what_may_come_next_acts_first(target):
    chosen = choose(Sampling(no_repeat_ngram_size=2), target, {}, constraint=Choice(["yes", "no"]))
    assert [one.name for one in chosen.applied] == [
        "the choice between 2 strings", "no_repeat_ngram_size", "temperature",
    ]  # fmt: skip
    assert chosen.facts()["constraint"] == "Choice(strings=['yes', 'no'])"


def test_a_constraint_may_be_one_already(target):
    assert choose(Sampling(), target, {}, constraint=RepetitionPenalty(1.5)).constraint == RepetitionPenalty(1.5)


def test_warps_stand_in_place_of_settings(target):
    chosen = choose(Sampling(), target, {"do_sample": True, "top_k": 3}, warps=[top_k(9), temperature(2.0)])
    assert torch.equal(chosen.warp(LOGITS_XV), temperature(2.0)(top_k(9)(LOGITS_XV)))
    assert [one.name for one in chosen.applied] == chosen.facts()["sampler"] == ["top_k", "temperature"]
    assert chosen.unused == (("top_k of generation_config.json", 3, "sampler stands in its place"),)
    assert chosen.facts()["temperature"] is None
    with pytest.raises(BadInput, match="sampler stands in place of temperature and top_k; give one or the other"):
        choose(Sampling(1.0, 3), target, {}, warps=[])


def test_every_value_says_where_it_is_from(target):
    theirs = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "repetition_penalty": 1.1}
    chosen = choose(Sampling(top_p=0.5), target, theirs)
    assert chosen.applied == (
        Applied("repetition_penalty", 1.1, "generation_config.json"),
        Applied("temperature", 0.6, "generation_config.json"),
        Applied("top_k", 20, "generation_config.json"),
        Applied("top_p", 0.5, "given"),
    )
    assert chosen.unused == (("top_p of generation_config.json", 0.9, "overridden"),)
    greedy = choose(Sampling(0.0, 5), target, {**theirs, "do_sample": False})
    assert ("top_k", 5, "temperature 0 leaves nothing to cut") in greedy.unused
    assert ("top_p of generation_config.json", 0.9, "the model does not say do_sample") in greedy.unused


def test_the_models_generation_config_is_read(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "model")
    said = {"do_sample": True, "typical_p": 0.9, "repetition_penalty": 1.2, "bad_words_ids": [[5]], "top_k": 7}
    (own / "generation_config.json").write_text(json.dumps(said))
    (own / "decant.json").unlink(missing_ok=True)
    loaded = load(str(own), dtype="float32", exact="off")
    assert [one.name for one in choose(Sampling(top_k=0), loaded, loaded.defaults).applied] == [
        *("repetition_penalty", "bad_words", "temperature", "typical_p"),
    ]


def test_a_models_own_top_h_is_the_rule_that_transformers_ships(target):
    theirs, flat_XV = {"do_sample": True, "top_h": 0.4}, torch.arange(64.0)[None] / 64
    shipped, paper = choose(Sampling(), target, theirs), choose(Sampling(top_h=0.4), target, {"do_sample": True})
    assert torch.equal(shipped.warp(flat_XV), top_h(0.4, shipped_top=100)(flat_XV))
    assert torch.equal(paper.warp(flat_XV), top_h(0.4)(flat_XV))
    assert not torch.equal(shipped.warp(flat_XV), paper.warp(flat_XV)), "the rules must differ on this law"
    assert shipped.facts()["top_h_shipped_top"] == 100
    assert shipped.facts() != paper.facts()


def test_ids_that_the_model_does_not_have_are_refused(target):
    beyond = target.model.vocab
    with pytest.raises(BadInput, match=f"logit_bias names token {beyond}, but the ids of .* are 0 to {beyond - 1}"):
        choose(Sampling(logit_bias={beyond: 1.0}), target, {})
    with pytest.raises(BadInput, match="has no tokenizer files; give bad_words as ids"):
        choose(Sampling(bad_words=["no"]), replace(target, tokenizer=None), {})


PERSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize(
    ("constraint", "stop", "message"),
    [
        (Choice(["yes, of course", "no"]), ",", "the stop string ',' cuts the choice 'yes, of course'"),
        (Json(PERSON), "}", "the stop string '}' is part of all JSON of this schema"),
        (Json(PERSON), ":", "the stop string ':' is part of all JSON"),
        (Json({"type": "array"}), "[", "is part of all JSON"),
        (Regex(r"\d{3}-\d{4}"), "-", "the stop string '-' is part of all text of the regular expression"),
    ],
)
def test_a_stop_string_that_cuts_what_is_demanded_is_refused(constraint, stop, message):
    if isinstance(constraint, Regex):
        pytest.importorskip("llguidance")
    with pytest.raises(BadInput, match=message):
        refuse_stops(constraint, ("never said", stop))


@pytest.mark.parametrize("constraint", [None, Choice(["yes", "no"]), Json(PERSON), Json(True), Regex("[a-z]+")])
def test_other_stop_strings_stay(constraint):
    if isinstance(constraint, Regex):
        pytest.importorskip("llguidance")
    refuse_stops(constraint, ("\n", "maybe"))


def test_the_bound_of_acceptance_has_no_history(target):
    refuse_history(choose(EVERY_CUT, target, {}))
    with pytest.raises(BadInput, match="laws without a history; leave out repetition_penalty"):
        refuse_history(choose(Sampling(repetition_penalty=1.2), target, {}))


def test_every_setting_is_a_keyword_and_an_option():
    assert {*More.__annotations__} | {"temperature", "top_k", "top_p", "min_p"} == {*NAMES}
    assert {one.name for one in fields(Flags)} >= {*NAMES} - {"temperature"}
