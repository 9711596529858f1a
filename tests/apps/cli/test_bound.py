"""`bench --acceptance-bound`: a share of the optimum for every verifier, and refusals that name the remedy."""

import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app


@pytest.fixture
def decant(folder, draft_folder, tmp_path):
    """`decant bench FOLDER --acceptance-bound ...`"""
    file = tmp_path / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\n")
    given = [
        str(folder),
        "--acceptance-bound",
        "--prompts",
        str(file),
        "--max-tokens",
        "6",
        "--draft",
        str(draft_folder),
    ]
    return lambda *words: CliRunner().invoke(app, ["bench", *given, *words])


def test_no_verifier_is_above_the_optimum(decant):
    found = json.loads(decant("--temperature", "1", "--drafts", "2", "--json", "-").stdout)
    assert found["positions"] == 12
    assert {row["kind"] for row in found["rows"]} == {"independent", "without_replacement", "greedy_multi", "fixed"}
    judged = [one for row in found["rows"] for one in row["verifiers"]]
    assert {"k-seq", "greedy-multi", "tree-rejection"} <= {one["verifier"] for one in judged}
    assert all(0 < one["share"] <= 1.03 for one in judged), "the estimated ones are off by 0.023 at most"


def test_the_table_says_what_was_walked(decant):
    done = decant("--temperature", "0.8", "--drafts", "1,2")
    assert done.exit_code == 0, done.output
    assert "temperature 0.8" in done.stdout
    assert any(line.split()[:2] == ["independent", "1"] for line in done.stdout.splitlines())


def test_what_has_no_answer_is_refused(decant, folder):
    assert "give --temperature 0.8" in decant().stderr
    assert "--drafts 'two' are not whole numbers" in decant("--temperature", "1", "--drafts", "two").stderr
    stray = CliRunner().invoke(app, ["bench", str(folder), "--drafts", "2"])
    assert "--drafts goes with --acceptance-bound" in stray.stderr
