"""`decant methods`, `decant env` and the command itself."""

import json

from typer.testing import CliRunner

import decant
from decant.apps import catalog
from decant.apps.cli import app


def test_methods_lists_every_row_with_what_it_promises():
    done = CliRunner().invoke(app, ["methods"])
    assert done.exit_code == 0, done.output
    for table in (catalog.METHODS, catalog.VERIFIERS, catalog.POLICIES, catalog.SAMPLERS):
        for name, row in table.items():
            assert f"  {name} " in done.stdout
            assert row.summary in done.stdout
            assert row.source in done.stdout
    assert "needs a draft model" in done.stdout
    assert "knobs ngram=3 min_ngram=1 depth=5" in done.stdout


def test_methods_as_json():
    listed = json.loads(CliRunner().invoke(app, ["methods", "--json", "-"]).stdout)
    roles = {"drafters", "verifiers", "policies", "decoders", "recipes", "samplers", "constraints"}
    roles |= {"unmaskers", "schedules", "caches", "distances", "weightings", "curricula", "rollouts"}
    assert set(listed) == {"methods"} | roles
    methods = {row["name"]: row for row in listed["methods"]}
    assert methods["draft-model"]["needs"] == "a draft model"
    assert methods["draft-model"]["knobs"]["depth"] == 5
    assert "coupled" not in methods["draft-model"]["knobs"]
    assert methods["token-recycling"]["needs"] == "tree masks"
    promises = {row["name"]: row["promise"] for row in listed["verifiers"]}
    sampling = dict.fromkeys(("rejection", "tree-rejection", "block", "k-seq", "greedy-multi"), "distribution")
    lossy = dict.fromkeys(("typical-acceptance", "lenience", "threshold"))
    assert promises == {"coupled": "tokens", **sampling, **lossy}


def test_methods_that_fill_in_masks_name_the_knobs_of_all_their_parts():
    listed = json.loads(CliRunner().invoke(app, ["methods", "--json", "-"]).stdout)
    methods = {row["name"]: row for row in listed["methods"]}
    said = methods["threshold"]
    assert said["knobs"] == {"schedule": "blocks", "cache": "none", "tau": 0.9, "block": 32}
    assert (said["promise"], said["verifier"], said["needs"]) == (None, None, "a model that fills in masks")
    filling = [name for name, recipe in catalog.METHODS.items() if recipe.fills]
    assert {name for name in filling if methods[name]["exact"]} == {"low-confidence", "freedave"}
    assert "unmasker" not in methods["freedave"]["knobs"]


def test_env_says_what_decides_the_speed(monkeypatch):
    monkeypatch.setattr("decant.models.machine.bandwidth_gb_s", lambda: 12.34)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    facts = json.loads(CliRunner().invoke(app, ["env", "--json", "-"]).stdout)
    assert facts["bandwidth_gb_s"] == 12.3
    assert facts["threads"] == 1
    assert isinstance(facts["instruction_sets"], list)
    assert facts["packages"]["typer"]
    assert "dev" in facts["extras"]
    assert facts["variables"]["HF_HUB_OFFLINE"] == "1"
    done = CliRunner().invoke(app, ["env"])
    assert done.exit_code == 0
    assert "bandwidth gb s" not in done.stdout
    assert "memory bandwidth  12.3 GB/s" in done.stdout
    assert "HF_HUB_OFFLINE 1" in done.stdout


def test_the_version():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"decant {decant.__version__}\n"


def test_no_verb_at_all_is_answered_with_help():
    done = CliRunner().invoke(app, [])
    assert "Distil a model you have" in done.output
    for verb in ("generate", "bench", "prove", "datastore", "demo", "methods", "env"):
        assert f"  {verb} " in done.output


def test_a_misspelt_verb_is_a_usage_error():
    done = CliRunner().invoke(app, ["genrate"])
    assert done.exit_code == 2
    assert "genrate" in done.stderr
