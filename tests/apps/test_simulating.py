"""Predictions for machines that are not here: whose guesses, what they cost there, and who would win."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from decant.apps.catalog import METHODS
from decant.apps.guessing import Guesser, heads_of, parameters
from decant.apps.opening import Opening
from decant.apps.simulating import BY_COST, Asked, acceptance, simulate
from decant.apps.sizes import config_of, shape_of, shapes_of
from decant.errors import BadInput, IncompatibleParts
from decant.models.folder import HOUSE
from decant.models.load import load as load_model
from decant.tune.carried import Guesses, Known
from decant.tune.hardware import load
from decant.tune.predict import Drafting, Profile
from decant.tune.probe import Probe
from decant.tune.shape import Shape

TARGET = Shape("target", 32, 4096, 11008, 32, 32, 128, 32000)
DRAFT = Shape("draft", 2, 768, 3072, 12, 12, 64, 32000)
GOOD = Guesses("draft-model", Profile.chain(0.8, 5))
USELESS = Guesses("draft-model", Profile((0.0,), (1.0,)))
LOOKUP = Guesses("prompt-lookup", Profile((0.3, 0.2), (0.5, 0.5), Drafting(once=1e-4)))
H100 = load("h100-sxm")


def ranked(known, machines=(H100,), batches=(1,), draft=DRAFT):
    asked = Asked(TARGET, draft, machines, batches)
    return simulate(asked, known, Guesser(TARGET, draft))


def names(found):
    return [row["name"] for row in found["methods"]]


def test_a_good_draft_wins_and_plain_is_among_the_ranked():
    said = json.loads(json.dumps(ranked(Known((GOOD, LOOKUP), 0.001)), allow_nan=False))
    assert said["prediction"] == "nothing was run on these machines"
    found = said["machines"][0]["batches"][0]
    assert names(found)[0].startswith("draft-model:depth=")
    assert set(names(found)[1:]) == {"prompt-lookup", "plain"}
    plain = next(row for row in found["methods"] if row["name"] == "plain")
    assert plain["speedup"] == 1
    assert plain["tokens_a_call"] == 1
    assert said["machines"][0]["presumed"] == H100.presumed


def test_off_wins_over_a_useless_draft():
    assert names(ranked(Known((USELESS,), 0.001))["machines"][0]["batches"][0])[0] == "plain"


def test_depth_falls_as_the_batch_grows():
    """A processor computes as soon as a few requests are together; one request has room for guesses."""
    found = ranked(Known((GOOD,), 0.001), [load("epyc-9654")], (1, 16, 64))["machines"][0]["batches"]
    depths = [int(names(one)[0].partition("=")[2]) for one in found]
    assert depths == sorted(depths, reverse=True)
    assert depths[0] > depths[-1]


def test_a_depth_that_was_asked_for_stays():
    known = Known((Guesses("draft-model:depth=2", Profile.chain(0.9, 2)),), 0.001)
    assert names(ranked(known)["machines"][0]["batches"][0])[0] == "draft-model:depth=2"


def test_a_batch_that_does_not_fit_says_so():
    small, large = ranked(Known((GOOD,), 0.001), batches=(1, 4096))["machines"][0]["batches"]
    assert small["refused"] is None
    assert "need " in large["refused"]
    assert "GB" in large["refused"]
    assert large["methods"] == []


def test_without_a_draft_its_methods_are_skipped_with_the_remedy():
    found = ranked(Known((GOOD, LOOKUP), 0.001), draft=None)["machines"][0]["batches"][0]
    assert found["skipped"] == [
        ["draft-model", "draft-model needs a draft model and none is named; give one with --draft"]
    ]
    assert "prompt-lookup" in names(found)


def test_the_hosts_lookups_are_as_slow_as_its_steps():
    """crank 1 ms here and 0.2 ms there: a lookup of 0.1 ms takes 0.02 ms."""
    row = next(
        row
        for row in ranked(Known((LOOKUP,), 0.001))["machines"][0]["batches"][0]["methods"]
        if row["name"] == "prompt-lookup"
    )
    assert row["draft_ms"] == pytest.approx(0.02)


def test_who_guesses_says_what_it_costs(tmp_path):
    save_file({"a.weight": torch.zeros(100, 7), "t2d": torch.zeros(9)}, tmp_path / "model.safetensors")
    guesser = Guesser(TARGET, DRAFT, {"medusa": tmp_path, "eagle3": tmp_path})
    free = guesser.drafting(METHODS["prompt-lookup"], H100, 1)
    assert free is None
    once = guesser.drafting(METHODS["medusa"], H100, 1)
    assert once.seconds(1, 4) == once.seconds(1, 1) > 0
    level = guesser.drafting(METHODS["eagle3"], H100, 1)
    assert level.seconds(1, 4) == pytest.approx(4 * level.seconds(1, 1))
    exits = guesser.drafting(METHODS["early-exit"], H100, 1)
    assert exits.seconds(1, 1) > guesser.drafting(METHODS["draft-model"], H100, 1).seconds(1, 1)
    with pytest.raises(BadInput, match="ppd needs a trained head and none of the kind ppd is named"):
        guesser.drafting(METHODS["ppd"], H100, 1)
    with pytest.raises(IncompatibleParts, match="ead decodes in a loop of its own"):
        guesser.drafting(METHODS["ead"], H100, 1)


def test_a_head_without_an_output_matrix_reads_the_targets(tmp_path):
    save_file({"a.weight": torch.zeros(100, 7), "t2d": torch.zeros(9)}, tmp_path / "model.safetensors")
    assert parameters(tmp_path, TARGET) == 700 + TARGET.output_parameters
    save_file({"lm_head.weight": torch.zeros(5, 7)}, tmp_path / "model.safetensors")
    assert parameters(tmp_path, TARGET) == 35
    with pytest.raises(BadInput, match="cannot be read"):
        parameters(tmp_path / "nowhere", TARGET)


def test_the_house_names_its_draft_and_heads():
    target, draft = shapes_of("house:target", None, Opening())
    assert draft is not None
    assert draft.parameters < target.parameters
    assert {"eagle3", "medusa"} <= set(heads_of("house:target"))


def test_a_head_that_is_given_stands_beside_the_named_draft():
    head = str(HOUSE / "medusa")
    assert heads_of("nowhere", head) == {"medusa": HOUSE / "medusa"}
    assert shapes_of("house:target", head, Opening()) == shapes_of("house:target", None, Opening())
    given = shapes_of("house:target", "house:target", Opening())[1]
    assert given is not None
    assert given.layers == shape_of("house:target").layers


def test_sizes_are_those_of_the_loaded_model(folder):
    shape, loaded = shape_of(str(folder)), load_model(str(folder), exact="off")
    norms = (2 * shape.layers + 1) * shape.width
    assert shape.parameters + norms == loaded.facts()["parameters"]
    assert shape.cached_token == loaded.model.network.token_bytes()


def test_widened_sizes_are_those_that_widen_gives(folder):
    shape, loaded = shape_of(str(folder), widen="1M"), load_model(str(folder), widen="1M", exact="off")
    norms = (2 * shape.layers + 1) * shape.width
    assert shape.parameters + norms == loaded.facts()["parameters"]
    with pytest.raises(BadInput, match="size '1K' is not above"):
        shape_of(str(folder), widen="1K")


@pytest.mark.parametrize("name", ["nowhere", "house:nobody"])
def test_a_model_without_a_config_is_refused(name):
    with pytest.raises(BadInput, match=f"{name} holds no config.json"):
        config_of(name)


def test_a_hub_id_that_cannot_be_had_is_refused(monkeypatch):
    def nothing(*words, **more):
        raise OSError("no such model\nand a second line")

    monkeypatch.setattr("decant.models.hub.cached_file", nothing)
    with pytest.raises(BadInput, match=r"the config.json of some/body cannot be had: no such model$"):
        config_of("some/body")


def test_a_config_alone_is_enough(folder, tmp_path):
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert shape_of(str(tmp_path)) == replace(shape_of(str(folder)), name=str(tmp_path))
    assert shape_of(str(tmp_path / "config.json")).layers == 2


def test_acceptance_of_an_earlier_simulation(tmp_path):
    said = ranked(Known((LOOKUP,), 0.001, (("ead", "a reason"),)))
    (tmp_path / "s.json").write_text(json.dumps(said))
    known = acceptance(tmp_path / "s.json")
    assert known.skipped == (("ead", "a reason"),)
    assert known.crank == pytest.approx(0.001)
    assert known.methods[0].profile.kept == LOOKUP.profile.kept
    again = ranked(known)
    assert again["machines"] == said["machines"]


def test_acceptance_of_a_folder_that_tune_wrote(tmp_path):
    """What follows this machine's costs would guess otherwise elsewhere, and is left out."""
    look = Probe(Profile.chain(0.5, 2), 100, 50, 1.0, 0.1, 0.8, ()).kept()
    plain = Probe(None, 50, 50, 1.0, 0.0, 0.9, ()).kept()
    looks = {
        "plain": plain,
        "draft-model": look,
        "sequoia": look,
        "draft-model:depth=3 --draft house:draft": look,
        "draft-model --draft house:draft --policy cost-aware": look,
        "ead": plain,
    }
    (tmp_path / "progress.json").write_text(json.dumps({"question": {}, "kept": {"probes": {"0": looks}}}))
    known = acceptance(tmp_path)
    assert known.crank == pytest.approx(0.002)
    assert [one.method for one in known.methods] == ["draft-model", "draft-model:depth=3 --draft house:draft"]
    assert {name for name, why in known.skipped if why == BY_COST} == {
        "sequoia",
        "draft-model --draft house:draft --policy cost-aware",
    }
    assert names(ranked(known)["machines"][0]["batches"][0])[0].startswith("draft-model:depth=")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "holds no JSON object"),
        ("{}", "no report of a race"),
        ('{"acceptance": {}}', "the acceptance in .* cannot be read"),
        ('{"kept": {"probes": {}}}', "holds nothing that tune has measured"),
    ],
)
def test_what_holds_no_acceptance_is_refused(tmp_path, text, message):
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=message):
        acceptance(file)
