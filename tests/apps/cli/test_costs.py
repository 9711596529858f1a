import json
from contextlib import contextmanager

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from decant.apps.cli import app, bench

GRID = ("--contexts", "16,32", "--batches", "1,2", "--repeat", "1")


@pytest.fixture(autouse=True)
def bandwidth(monkeypatch):
    monkeypatch.setattr("decant.bench.costs.read_bandwidth_gb_s", lambda device: 10.0)


@pytest.fixture
def decant(folder):
    """`decant bench FOLDER --costs ...`: no prompts."""
    given = [str(folder), "--dtype", "float32", "--exact", "on"]
    return lambda *words: CliRunner().invoke(app, ["bench", *given, "--costs", *words])


def test_the_table_has_a_row_for_every_pass(decant):
    done = decant(*GRID)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:5]] == ["machine", "model", "exact", "floor", "work"]
    assert "exact mode is on" in lines[2]
    assert lines[3].endswith("of cache a token, read at 10.0 GB/s")
    assert lines[4].endswith("median of 1")
    rows = [line.split()[:3] for line in lines if line.strip()[:1].isdigit()]
    counts = ("1", "2", "4", "8", "12", "16", "24", "32", "48", "64")
    assert rows == [[batch, context, new] for batch in "12" for context in ("16", "32") for new in counts]


def test_json_on_standard_output_stands_alone(decant):
    report = json.loads(decant(*GRID, "--json", "-").stdout)
    assert [(curve["batch"], curve["context"]) for curve in report["curves"]] == [(1, 16), (1, 32), (2, 16), (2, 32)]
    assert report["settings"]["exact"] is True
    assert report["model"]["name"].endswith("target")


def test_what_does_not_fit_is_said(decant):
    done = decant("--contexts", "1000", "--batches", "1", "--repeat", "1")
    said = "batch 1, context 1000 was skipped for 32, 48, 64 new tokens: the model's context holds 1024 tokens"
    assert said in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--contexts", "256,many"), "--contexts '256,many' are not whole numbers from 1 on with commas between"),
        (("--batches", "0"), "--batches '0' are not whole numbers from 1 on"),
        (("--contexts", ""), "--contexts '' are not whole numbers"),
        (("--json", "no/such/folder/out.json"), "there is no folder no/such/folder"),
        (("--widen", "huge"), "size 'huge' is not a number with K, M or B"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("option", ["--contexts", "--batches"])
def test_a_race_takes_neither_contexts_nor_batches(folder, option):
    done = CliRunner().invoke(app, ["bench", str(folder), option, "4"])
    assert done.exit_code == 2
    assert "--contexts and --batches go with --costs" in done.stderr


RACE = (
    *("--draft", "--prompts", "--methods", "--max-tokens", "--temperature", "--top-k", "--top-p", "--min-p", "--batch"),
    *("--limit", "--resume", "--seed", "--verifier", "--policy", "--widen-draft", "--drafts"),
)


@pytest.mark.parametrize("option", RACE)
def test_costs_take_no_options_of_a_race(decant, option):
    done = decant(option, "1")
    assert done.exit_code == 2
    assert f"decant: {option} is for a race; --costs measures one pass of the model" in done.stderr


def test_all_options_of_a_race_are_named_even_those_given_their_default(decant):
    done = decant("--methods", "all", "--seed", "0")
    assert "decant: --methods, --seed are for a race; --costs measures" in done.stderr
    assert done.stderr.endswith("(--contexts, --batches): leave out one or the other\n")


def test_every_option_belongs_to_a_race_or_to_costs_or_to_both():
    """An option that is added must find its place in `bench.RACE`, or be read by costs."""
    both = {"--repeat", "--dtype", "--weights", "--device", "--threads", "--revision", "--trust-remote-code", "--exact"}
    both |= {"--widen", "--layers", "--html", "--quiet", "--json"}
    costs = {"--costs", "--contexts", "--batches"}
    params = [one for one in get_command(app).commands["bench"].params if one.opts[0].startswith("-")]
    assert {one.opts[0] for one in params if one.name not in bench.RACE} == both | costs
    assert set(bench.RACE) <= {one.name for one in params}


@pytest.mark.parametrize(("word", "kept"), [("context 32", 1), ("batch 2, context 32", 3)])
def test_curves_that_are_finished_outlive_an_interrupt(decant, monkeypatch, tmp_path, word, kept):
    monkeypatch.setattr("decant.apps.cli.costs.progress", impatient(word))
    done = decant(*GRID, "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 130
    assert f"decant: interrupted; these are {kept} of 4 curves" in done.stderr
    assert "floor" in done.stdout
    assert len(json.loads((tmp_path / "out.json").read_text())["curves"]) == kept


def test_an_interrupt_before_anything_has_finished(decant, monkeypatch, tmp_path):
    monkeypatch.setattr("decant.apps.cli.costs.progress", impatient("context 16"))
    done = decant(*GRID, "--json", str(tmp_path / "out.json"))
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (130, "decant: interrupted")
    assert not (tmp_path / "out.json").exists()


def impatient(word):
    """Progress that ends in an interrupt as soon as `word` comes up."""

    @contextmanager
    def progress(quiet=False):
        def tell(done, total, text):
            if word in text:
                raise KeyboardInterrupt

        yield tell

    return progress
