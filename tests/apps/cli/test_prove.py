import json
from contextlib import contextmanager

import pytest
import torch
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.decoders.speculative import Speculative


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\nTake 5, then add 6.\n")
    return str(file)


@pytest.fixture
def decant(folder, prompts):
    """`decant prove FOLDER ...`"""
    given = [str(folder), "--prompts", prompts, "--dtype", "float32", "--exact", "on", "--max-tokens", "12"]
    return lambda *words: CliRunner().invoke(app, ["prove", *given, *words])


@pytest.mark.parametrize("temperature", ["0", "1"])
def test_equality_is_certified_at_every_temperature(decant, temperature):
    done = decant("--method", "draft-model:depth=3,prompt-lookup", "--temperature", temperature, "--checks", "methods")
    assert done.exit_code == 0, done.output
    assert "holds  draft-model:depth=3: the same tokens as plain decoding" in done.stdout
    assert "3 of 3 prompts identical" in done.stdout
    assert "planted fault caught: a verifier that keeps one guess more" in done.stdout
    assert "not covered\n  - " in done.stdout
    assert done.stdout.endswith("The certificate holds: 2 checks, none failed.\n")


@pytest.mark.slow
def test_a_law_is_tested_where_a_law_is_promised(decant):
    drawn = ("--verifier", "rejection", "--temperature", "1", "--top-k", "4")
    done = decant("--method", "draft-model", *drawn, "--samples", "400", "--limit", "1", "--checks", "methods")
    assert "draft-model: the same law as plain decoding" in done.stdout
    assert "chi-square" in done.stdout
    assert "power " in done.stdout
    assert "planted fault caught: " in done.stdout
    assert done.exit_code == 0


def test_json_on_standard_output_stands_alone(decant):
    certificate = json.loads(decant("--method", "prompt-lookup", "--json", "-").stdout)
    assert certificate["holds"] is True
    assert [check["method"] for check in certificate["checks"]] == ["prompt-lookup", "plain", "prompt-lookup"]
    assert certificate["settings"]["prompts"] == 3


def test_a_method_that_loses_something_fails_with_its_first_difference(decant, monkeypatch, tmp_path):
    step = Speculative.step

    def astray(self, state):
        state, made = step(self, state)
        wrong_BC = torch.where(made.positions_BC == 4, (made.tokens_BC + 1) % self.target.vocab, made.tokens_BC)
        return state, type(made)(wrong_BC, made.positions_BC, made.drafted_BC)

    monkeypatch.setattr(Speculative, "step", astray)
    done = decant("--method", "prompt-lookup", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 1
    assert "FAILS  prompt-lookup: the same tokens as plain decoding" in done.stdout
    assert "first difference: prompt 1, token 5: plain decoding says" in done.stdout
    assert "unexplained: rounding moves at most" in done.stdout
    assert "The certificate does NOT hold: prompt-lookup" in done.stdout
    assert json.loads((tmp_path / "out.json").read_text())["holds"] is False


def test_what_was_checked_outlives_an_interrupt(decant, monkeypatch, tmp_path):
    @contextmanager
    def impatient(quiet=False):
        def tell(done, total, text):
            if text == "token-recycling":
                raise KeyboardInterrupt

        yield tell

    monkeypatch.setattr("decant.apps.cli.proving.progress", impatient)
    file = str(tmp_path / "out.json")
    done = decant("--method", "prompt-lookup,token-recycling", "--checks", "methods", "--json", file)
    assert done.exit_code == 130
    assert "decant: interrupted after 1 of 2 checks" in done.stderr
    assert "holds  prompt-lookup" in done.stdout
    certificate = json.loads((tmp_path / "out.json").read_text())
    assert "token-recycling, which was not checked: the run was interrupted" in certificate["not_covered"]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["prompt-lookup", "draft-model"])
def test_samplers_and_constraints_on_the_model_itself(decant, method):
    drawn = ("--temperature", "0.8", "--top-k", "12", "--samples", "600", "--limit", "2", "--max-tokens", "40")
    done = decant("--method", method, "--checks", "samplers,constraints", *drawn, "--json", "-")
    found = json.loads(done.stdout)
    names = [check["name"] for check in found["checks"]]
    assert names[0].startswith("samplers: what each setting does")
    assert names[1] == "samplers: plain decoding draws from the law of its settings"
    assert names[2] == "constraints: plain: as constrained, and every text obeys"
    assert names[3] == f"constraints: {method}: the same tokens as plain decoding, and every text obeys"
    assert all(check["holds"] and check["planted_fault_caught"] for check in found["checks"]), done.stdout
    assert {"temperature 0.8", "top_k 12", "top_p 0.9", "xtc_probability 0.5 with 0.1"} <= set(
        found["checks"][0]["settings"]
    )
    assert found["checks"][3]["texts"]["whole"] == 2
    assert done.exit_code == 0


def test_rounded_weights_are_held_against_themselves_and_it_is_said(decant):
    done = decant("--method", "prompt-lookup", "--weights", "int8", "--limit", "2", "--json", "-")
    found = json.loads(done.stdout)
    assert found["holds"] is True
    assert any("before its weights were rounded to int8" in line for line in found["not_covered"])


def test_a_certificate_is_run_again_and_refused_where_something_changed(decant, prompts, tmp_path):
    file = tmp_path / "c.json"
    assert decant("--method", "prompt-lookup", "--json", str(file)).exit_code == 0
    again = lambda *words: CliRunner().invoke(app, ["prove", "--again", str(file), *words])  # noqa: E731
    done = again("--json", "-")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["repeats"] == {
        "file": str(file), "same": True, "differ": [], "same_machine": True
    }  # fmt: skip
    typed = again("--method", "prompt-lookup")
    assert typed.exit_code == 2
    assert "says what is proved; leave --method out" in typed.stderr
    report = json.loads(file.read_text())
    report["checks"][0]["holds"] = False
    file.write_text(json.dumps(report))
    other = again()
    assert other.exit_code == 1
    assert "NOT the same verdict: prompt-lookup: the same tokens as plain decoding failed then and held" in other.stdout
    report["again"]["marks"]["prompts"] = "another"
    file.write_text(json.dumps(report))
    changed = again()
    assert changed.exit_code == 2
    assert "the prompts changed since" in changed.stderr


def test_what_is_no_check_and_no_certificate_is_said(decant, tmp_path):
    assert "no check is called 'speed'; take methods, batches" in decant("--checks", "speed").stderr
    file = tmp_path / "other.json"
    file.write_text("{}")
    done = CliRunner().invoke(app, ["prove", "--again", str(file)])
    assert done.exit_code == 2
    assert "does not say how it was made" in done.stderr
