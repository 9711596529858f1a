"""`--html`: the page of a race or of costs, beside its numbers."""

import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app


@pytest.fixture
def decant(folder, tmp_path):
    """`decant bench FOLDER ...`"""
    prompts = tmp_path / "p.txt"
    prompts.write_text("Take 1, then add <script>2</script>.\nTake 3, then add 4.\n")

    def run(*words):
        given = [str(folder), "--dtype", "float32", "--exact", "on", "--repeat", "1", "-q", *words]
        source = [] if "--costs" in words else ["--prompts", str(prompts), "--max-tokens", "10"]
        return CliRunner().invoke(app, ["bench", *given, *source])

    return run


def test_the_page_shows_the_race_and_its_texts(decant, tmp_path):
    page, numbers = tmp_path / "race.html", tmp_path / "race.json"
    done = decant("--methods", "plain,draft-model:depth=3", "--html", str(page), "--json", str(numbers))
    assert done.exit_code == 0, done.output
    said, found = page.read_text(), json.loads(numbers.read_text())
    speed = found["methods"][1]["speedup"]
    assert f"{speed['median']:.2f}" in said
    assert "Decoded with draft-model:depth=3." in said
    assert "&lt;script&gt;2&lt;/script&gt;" in said
    assert "<script>" not in said
    assert said.count('<article class="text">') == 2
    assert 'class="corrected"' in said or 'class="bonus"' in said


def test_a_race_of_nothing_but_plain_decoding_has_no_texts(decant, tmp_path):
    page = tmp_path / "race.html"
    assert decant("--methods", "plain", "--html", str(page)).exit_code == 0
    assert "Leave it off" in page.read_text()
    assert '<article class="text">' not in page.read_text()


def test_costs_have_a_page_too(decant, tmp_path):
    page = tmp_path / "costs.html"
    done = decant("--costs", "--contexts", "8", "--batches", "1", "--html", str(page))
    assert done.exit_code == 0, done.output
    assert "batch 1, context 8" in page.read_text()
    assert "Ranking" not in page.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--html", "nowhere/x.html"), "--html nowhere/x.html cannot be written: there is no folder nowhere"),
        (("--html", "x.html", "--acceptance-bound"), "--html is the page of a race, or of --costs; take --json here"),
        (("--html", "x.html", "--suite", "parallel"), "--html is the page of a race, or of --costs; take --json here"),
    ],
)
def test_what_it_cannot_write_is_refused_before_the_work(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr
