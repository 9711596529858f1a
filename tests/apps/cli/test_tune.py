import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.apps.cli.tune import advice, duration, spelt, temperatures
from decant.errors import BadInput
from decant.tune import costs
from decant.tune.plan import Choice, Plan


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(costs, "TOKENS", (1, 4))
    monkeypatch.setattr(costs, "COARSE", (1, 4))
    monkeypatch.setattr("decant.bench.costs.read_bandwidth_gb_s", lambda device: 10.0)


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\nTake 5, then add 6.\n")
    return str(file)


@pytest.fixture
def decant(folder, prompts, tmp_path):
    """`decant tune FOLDER ...`"""
    given = [str(folder), "--prompts", prompts, "--dtype", "float32", "--max-tokens", "6", "--budget", "0.5s"]
    out = ["--out", str(tmp_path / "out"), "--methods", "prompt-lookup,draft-model"]
    return lambda *words: CliRunner().invoke(app, ["tune", *given, *out, *words])


def test_it_names_what_to_do_and_the_command_that_serves_it(decant, folder, tmp_path):
    done = decant()
    assert done.exit_code == 0, done.output
    assert "On this machine, for these prompts, at batch 1, temperature 0: " in done.stdout
    assert f"decant serve {folder} --dtype float32 --plan {tmp_path / 'out'}" in done.stdout
    assert "report.html" in done.stdout
    said = CliRunner().invoke(
        app,
        ["generate", str(folder), "Take 1", "--dtype", "float32", "--max-tokens", "2", "--plan", str(tmp_path / "out")],
    )
    assert said.exit_code == 0, said.output
    assert "the plan says --method " in said.stderr


def test_json_on_standard_output_is_the_plan_alone(decant, tmp_path):
    done = decant("--json", "-", "--quiet")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == Plan.load(tmp_path / "out").facts()
    assert done.stderr == ""


def test_a_plan_for_another_model_ends_with_a_sentence(decant, draft_folder, tmp_path):
    assert decant("--quiet").exit_code == 0
    said = CliRunner().invoke(app, ["generate", str(draft_folder), "Take 1", "--plan", str(tmp_path / "out")])
    assert said.exit_code == 2
    assert "the plan was made for another model" in said.stderr


def test_a_plan_only_run_writes_nothing(decant, tmp_path):
    done = decant("--plan-only")
    assert done.exit_code == 0, done.output
    assert "would be looked at: draft-model, prompt-lookup" in done.stdout
    assert "a race at batch 1, temperature 0" in done.stdout
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "soon"], "--budget 'soon' is no time above 0; write 90s, 10m or 1h"),
        (["--budget", "0m"], "--budget '0m' is no time"),
        (["--train", "-1m"], "--train '-1m' is no time"),
        (["--temperature", "hot"], "--temperature 'hot' are not numbers from 0 on"),
        (["--batch", "0"], "--batch '0' are not whole numbers from 1 on"),
        (["--methods", "prompt-lokup"], "did you mean prompt-lookup?"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence_and_status_2(decant, words, said):
    done = decant(*words)
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_plan_stands_in_place_of_a_method(folder):
    done = CliRunner().invoke(app, ["generate", str(folder), "x", "--plan", "nowhere", "--method", "plain"])
    assert done.exit_code == 2
    assert "--method: --plan says how to decode" in done.stderr
    done = CliRunner().invoke(app, ["generate", str(folder), "x", "--plan", "nowhere"])
    assert done.exit_code == 2
    assert "make one with decant tune" in done.stderr


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("2", 120), ("0.5 m", 30)])
def test_times_are_spelt_with_a_unit(text, seconds):
    assert duration("--budget", text) == seconds


def test_temperatures_have_commas_between():
    assert temperatures("0,0.8") == [0.0, 0.8]
    with pytest.raises(BadInput, match="numbers from 0 on"):
        temperatures("-1")


def test_advice_is_a_sentence():
    gain = {"median": 2.4, "low": 2.2, "high": 2.6}
    assert advice(Choice(1, 0.0, "eagle3", "house:eagle3", policy="cost-aware", speedup=gain, why="it won")) == (
        "On this machine, for these prompts, at batch 1, temperature 0: --method eagle3 --draft house:eagle3 --policy "
        "cost-aware. It is 2.40x (2.20-2.60) as fast. It won."
    )
    assert advice(Choice(8, 0.8, "plain", why="nothing gained")) == (
        "On this machine, for these prompts, at batch 8, temperature 0.8: leave it off. Nothing gained."
    )
    assert spelt({"median": 1.5, "low": None, "high": None}) == "1.50x"
