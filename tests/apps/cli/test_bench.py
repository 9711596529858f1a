import json
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app

METHODS = "plain,draft-model:depth=3,prompt-lookup,token-recycling"


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    file = tmp_path_factory.mktemp("prompts") / "p.txt"
    file.write_text("Take 1, then add 2.\nTake 3, then add 4.\nTake 5, then add 6.\n")
    return str(file)


@pytest.fixture
def decant(folder, prompts):
    """`decant bench FOLDER ...`"""
    given = [str(folder), "--prompts", prompts, "--dtype", "float32", "--exact", "on", "--max-tokens", "10"]
    return lambda *words: CliRunner().invoke(app, ["bench", *given, "--repeat", "2", *words])


def test_the_table_names_machine_model_and_work(decant):
    done = decant("--methods", METHODS, "--limit", "2")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("machine  ")
    assert "1 thread" in lines[0]
    assert "LlamaForCausalLM" in next(line for line in lines if line.startswith("model "))
    assert "exact mode is on" in next(line for line in lines if line.startswith("exact "))
    work = next(line for line in lines if line.startswith("work "))
    assert "2 prompts of" in work
    assert "up to 10 new tokens, batch 1, temperature 0, seed 0, median of 2" in work
    for name in METHODS.split(","):
        assert any(line.startswith(f"{name} ") and line.endswith("yes") for line in lines), name


def test_json_on_standard_output_stands_alone(decant):
    report = json.loads(decant("--methods", METHODS, "--batch", "2", "--json", "-").stdout)
    assert [row["name"] for row in report["methods"]] == METHODS.split(",")
    assert {row["identical"] for row in report["methods"]} == {True}
    assert report["methods"][0]["speedup"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert report["finished"] == {"repeats": 2, "prompts": 3}
    assert report["settings"]["batch"] == 2
    assert report["settings"]["verifier"] is None


def test_who_never_called_the_target_saved_no_calls(decant, tmp_path):
    done = decant("--methods", "plain,ead:threshold=99", "--limit", "1", "--json", str(tmp_path / "race.json"))
    assert done.exit_code == 0, done.output
    row = json.loads((tmp_path / "race.json").read_text())["methods"][1]
    assert (row["target_calls"], row["acceptance_length"]) == (0, None)
    assert next(line for line in done.stdout.splitlines() if line.startswith("ead:threshold=99 ")).split()[5] == "-"


def test_what_is_lossy_is_named_with_what_it_is_set_to(decant, tmp_path):
    words = ("--verifier", "lenience", "--policy", "fixed:depth=2", "--temperature", "1", "--limit", "1")
    done = decant("--methods", "draft-model,bild", *words, "--json", str(tmp_path / "race.json"))
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "race.json").read_text())
    lenient, bild = report["methods"][1:]
    assert lenient["knobs"] == {"lenience": 0.7}
    assert bild["knobs"] == {"fallback": 0.6, "rollback": 5.0, "most": 10}
    assert lenient["lost"]["agreement"] is None
    assert bild["lost"]["agreement"] is not None
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["verifier", "lenience"] in lines
    assert ["policy", "fixed:depth=2"] in lines
    assert ["lenience=0.7"] in lines
    said = next(line for line in lines if line[:1] == ["draft-model"])
    assert "lossy:" in said
    assert "agree" not in said


def test_all_is_the_default_and_skips_with_a_reason(decant, draft_folder):
    done = CliRunner().invoke(
        app, ["bench", str(draft_folder), "--prompts", "-", "--max-tokens", "4", "--repeat", "1"], input="Take 1\n"
    )
    assert done.exit_code == 0, done.output
    assert f"draft-model was skipped: draft-model needs a draft model and {draft_folder} names none" in done.stdout
    assert "prompt-lookup " in done.stdout


def test_text_that_repeats_itself_is_flagged(decant):
    done = decant("--methods", "prompt-lookup", "--max-tokens", "120", "--limit", "1", "--repeat", "1")
    assert "prompt-lookup: repetitive text (0." in done.stdout


def test_a_method_that_was_named_is_refused(draft_folder, prompts):
    done = CliRunner().invoke(app, ["bench", str(draft_folder), "--prompts", prompts, "--methods", "draft-model"])
    assert done.exit_code == 2
    assert "names none; give one with --draft" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--methods", "prompt-lokup,plain"), "no method is called 'prompt-lokup'; did you mean prompt-lookup?"),
        (("--methods", " , "), "names nothing"),
        (("--prompts", "nowhere.jsonl"), "the prompts file nowhere.jsonl does not exist"),
        (("--prompts", "house:taks"), "no house prompts file is called 'house:taks'; did you mean house:tasks"),
        (("--max-tokens", "2000"), "p.txt line 1 has"),
        (("--temperature", "-2"), "temperature is 0 (greedy) or more, got -2.0"),
        (("--widen", "huge"), "size 'huge' is not a number with K, M or B"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_prompts_are_required_for_other_models_than_ours(folder):
    done = CliRunner().invoke(app, ["bench", str(folder)])
    assert done.exit_code == 2
    assert "give --prompts FILE" in done.stderr


def test_a_broken_line_is_named_before_the_model_is_loaded(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"prompt": "fine"}\n{"prompt": \n')
    done = CliRunner().invoke(app, ["bench", "no/such-model", "--prompts", str(file)])
    assert done.exit_code == 2
    assert "p.jsonl line 2 is not JSON" in done.stderr


def test_what_has_finished_outlives_an_interrupt(decant, monkeypatch, tmp_path):
    @contextmanager
    def impatient(quiet=False):
        def tell(done, total, text):
            if text.startswith("repeat 2"):
                raise KeyboardInterrupt

        yield tell

    monkeypatch.setattr("decant.apps.cli.bench.progress", impatient)
    done = decant("--methods", "prompt-lookup", "--repeat", "3", "--json", str(tmp_path / "out.json"))
    assert done.exit_code == 130
    assert "decant: interrupted; these are the results of 1 repeat of 3 prompts" in done.stderr
    assert "prompt-lookup " in done.stdout
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["finished"] == {"repeats": 1, "prompts": 3}
    assert report["methods"][1]["tokens_per_second"]["median"] > 0


def test_an_interrupt_before_anything_has_finished(decant, monkeypatch, tmp_path):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("decant.apps.trial.race", interrupted)
    done = decant("--json", str(tmp_path / "out.json"))
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (130, "decant: interrupted")
    assert not (tmp_path / "out.json").exists()
