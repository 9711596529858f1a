"""`decant tune --simulate`: a prediction that says what it is, of guesses measured here or before."""

import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\n")
    return str(file)


@pytest.fixture
def decant(folder, prompts):
    """`decant tune FOLDER ...`"""
    given = [str(folder), "--prompts", prompts, "--dtype", "float32", "--methods", "draft-model,prompt-lookup"]
    return lambda *words: CliRunner().invoke(app, ["tune", *given, *words])


@pytest.fixture(scope="module")
def said(folder, prompts, tmp_path_factory):
    """A simulation that measured what guesses are worth."""
    file = tmp_path_factory.mktemp("simulated") / "s.json"
    words = ["tune", str(folder), "--prompts", prompts, "--methods", "draft-model,prompt-lookup", "--quiet"]
    done = CliRunner().invoke(app, [*words, "--simulate", "h100-sxm,l4", "--batch", "1,8", "--json", str(file)])
    assert done.exit_code == 0, done.output
    return file, json.loads(file.read_text()), done.stdout


def test_the_first_line_says_that_it_is_a_prediction(said):
    lines = said[2].splitlines()
    assert lines[0] == "a prediction for NVIDIA H100 SXM 80 GB, nothing was run there"
    assert "a prediction for NVIDIA L4, nothing was run there" in lines
    assert any(line.startswith("presumed, not public: bandwidth_efficiency") for line in lines)
    assert sum(line.startswith("batch ") and ":" in line for line in lines) == 4


def test_the_report_ranks_every_method_at_every_batch(said):
    report = said[1]
    assert [one["machine"]["name"] for one in report["machines"]] == ["NVIDIA H100 SXM 80 GB", "NVIDIA L4"]
    for machine in report["machines"]:
        assert [one["batch"] for one in machine["batches"]] == [1, 8]
        for one in machine["batches"]:
            assert {row["name"].partition(":")[0] for row in one["methods"]} == {
                "plain",
                "draft-model",
                "prompt-lookup",
            }
            speeds = [row["speedup"] for row in one["methods"]]
            assert speeds == sorted(speeds, reverse=True)


def test_what_was_measured_once_serves_again_without_the_model(decant, said):
    done = decant("--simulate", "h100-sxm", "--batch", "1,8", "--acceptance", str(said[0]), "--json", "-")
    assert done.exit_code == 0, done.output
    before, after = (one["machines"][0]["batches"] for one in (said[1], json.loads(done.stdout)))
    for old, new in zip(before, after, strict=True):
        # Profiles are written with four digits.
        assert {row["name"]: row["speedup"] for row in new["methods"]} == pytest.approx(
            {row["name"]: row["speedup"] for row in old["methods"]}, rel=0.02
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--simulate", "h100"), "no machine and no file is called 'h100'; there are h100-sxm"),
        (("--simulate", ","), "--simulate names no machine"),
        (("--simulate", "l4", "--acceptance", "nowhere.json"), "--acceptance nowhere.json cannot be read"),
        (("--acceptance", "x.json", "--out", "y"), "--acceptance without --simulate says nothing"),
        ((), "tune writes a plan and needs a folder for it; name one with --out"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr
