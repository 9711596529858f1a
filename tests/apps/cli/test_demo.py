import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.apps.cli import demo as module


@pytest.fixture
def decant(folder, tmp_path, monkeypatch):
    """`decant demo`, with a tiny pair in place of ours."""
    file = tmp_path / "p.jsonl"
    rows = [{"messages": [{"role": "user", "content": f"Take {n}, then add 1."}]} for n in range(3)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, value in (
        ("MODEL", str(folder)),
        ("PROMPTS", str(file)),
        ("RACED", 2),
        ("MAX_TOKENS", 10),
        ("REPEAT", 1),
    ):
        monkeypatch.setattr(module, name, value)
    return lambda *words: CliRunner().invoke(app, ["demo", *words])


def test_a_sample_a_race_and_two_certificates(decant):
    done = decant()
    assert done.exit_code == 0, done.output
    said = done.stdout
    places = [
        said.index(text)
        for text in (
            "> Take 0, then add 1.",
            "A race on 2 held-out prompts",
            "token-recycling ",
            "3 prompts at temperature 0",
            "The certificate holds: 3 checks",
            "3 prompts at temperature 1",
        )
    ]
    assert places == sorted(places)
    assert said.count("The certificate holds: 3 checks, none failed.") == 2


def test_json_on_standard_output_stands_alone(decant):
    found = json.loads(decant("--json", "-").stdout)
    assert len(found["bench"]["methods"]) == 4
    assert [certificate["holds"] for certificate in found["certificates"]] == [True, True]
    assert [certificate["settings"]["temperature"] for certificate in found["certificates"]] == [0.0, 1.0]


def test_a_certificate_that_does_not_hold_is_status_1(decant, monkeypatch):
    from decant.apps.demonstration import Demonstration

    certify = Demonstration.certify

    def refuted(self, temperature, progress):
        certificate = certify(self, temperature, progress)
        certificate["checks"][0]["holds"] = False
        return {**certificate, "holds": False}

    monkeypatch.setattr(Demonstration, "certify", refuted)
    done = decant()
    assert done.exit_code == 1
    assert "The certificate does NOT hold: draft-model" in done.stdout


@pytest.mark.slow
def test_with_the_models_that_we_ship():
    done = CliRunner().invoke(app, ["demo", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("The certificate holds") == 2
