import json
import logging
import re

import pytest
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.cli import app

PROMPT = "Take 1, then add 2."
TINY = ["--dtype", "float32", "--max-tokens", "12"]


@pytest.fixture
def decant(folder):
    """`decant generate FOLDER ...`"""
    return lambda *words, **given: CliRunner().invoke(app, ["generate", str(folder), *TINY, *words], **given)


def test_standard_output_is_the_new_text_and_nothing_else(decant, target, draft):
    done = decant(PROMPT)
    assert done.exit_code == 0, done.output
    assert done.stdout == generate(target, PROMPT, draft=draft, max_tokens=12).text
    assert re.search(
        r"^12 tokens in \d+\.\d\d s, .* a target call; draft-model: the text of plain decoding", done.stderr
    )


def test_quiet_says_nothing_beside_the_text(decant):
    assert decant(PROMPT, "--quiet").stderr == ""


@pytest.mark.parametrize("words", [(), ("-",)])
def test_the_prompt_may_come_through_a_pipe(decant, words):
    assert decant(*words, input=PROMPT + "\n").stdout == decant(PROMPT).stdout


def test_chat_answers_a_message(decant, target, draft):
    messages = [{"role": "user", "content": PROMPT}]
    assert decant(PROMPT, "--chat").stdout == generate(target, messages, draft=draft, max_tokens=12).text


def test_a_method_that_writes_several_drafts_shows_them(decant, tmp_path):
    done = decant(PROMPT, "--method", "superposed:drafts=2:temperature=1", "--json", str(tmp_path / "said.json"))
    assert done.exit_code == 0, done.output
    report = json.loads((tmp_path / "said.json").read_text())
    best, other = report["drafts"]
    assert (best["position"], other["position"]) == (0, 0)
    assert best["tokens"][:12] == report["tokens"]
    assert best["text"].startswith(done.stdout)
    assert best["score"] >= other["score"]
    assert best["tokens"] != other["tokens"]
    lines = done.stderr.splitlines()
    assert "12.00 a step; superposed" in lines[0], "a target call a token is no saving"
    first = lines.index("drafts from token 1 on, and their scores:") + 1
    assert [line.split()[0] for line in lines[first:]] == [f"{one['score']:.3f}" for one in (best, other)]
    assert "drafts" not in json.loads(decant(PROMPT, "--json", "-").stdout)


def test_methods_give_the_same_text(decant):
    drawn = ("--exact", "on", "--temperature", "1", "--top-p", "0.9", "--seed", "5")
    texts = {
        decant(PROMPT, "--method", name, *drawn).stdout for name in ("plain", "draft-model:depth=3", "prompt-lookup")
    }
    assert len(texts) == 1
    assert texts != {decant(PROMPT, *drawn[:-1], "6").stdout}


def test_stop_strings_may_be_repeated(decant):
    whole = decant(PROMPT).stdout
    assert decant(PROMPT, "--stop", "never said", "--stop", whole[3:6]).stdout == whole[: whole.index(whole[3:6])]


def test_json_on_standard_output_stands_alone(decant):
    done = decant(PROMPT, "--json", "-")
    report = json.loads(done.stdout)
    assert report["text"] == decant(PROMPT).stdout
    assert report["settings"] == {
        "method": "draft-model",
        "temperature": 0.0,
        "top_k": None,
        "top_p": None,
        "min_p": None,
        "seed": 0,
        "max_tokens": 12,
        "stop": [],
    }
    assert report["promise"] == "tokens"
    assert report["reason"] == "length"
    assert len(report["tokens"]) == len(report["drafted"]) == 12
    assert report["acceptance_length"] == 12 / report["target_calls"]
    assert report["machine"]["threads"] == 1


def test_json_goes_to_a_file_beside_the_text(decant, tmp_path):
    done = decant(PROMPT, "--json", str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["text"] == done.stdout


@pytest.mark.parametrize(("exact", "end"), [("on", "seed 7"), ("off", "seed 7, up to rounding")])
def test_whether_bits_are_promised_follows_the_mode(decant, exact, end):
    done = decant(PROMPT, "--exact", exact, "--seed", "7")
    assert done.stderr.splitlines()[0].endswith(f"draft-model: the text of plain decoding with {end}")


def test_rejection_says_that_it_promises_the_distribution(decant):
    done = decant(PROMPT, "--verifier", "rejection", "--temperature", "1")
    assert "draft-model: plain decoding's distribution, not its very tokens" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("",), "the prompt is empty; a prompt needs at least one character"),
        (("Take 1 " * 1200,), "tokens, but the context of"),
        ((PROMPT, "--method", "prompt-lokup"), "no method is called 'prompt-lokup'; did you mean prompt-lookup?"),
        ((PROMPT, "--method", "prompt-lookup:ngrm=2"), "prompt-lookup has no knob 'ngrm'; did you mean ngram"),
        ((PROMPT, "--method", "prompt-lookup:ngram=0"), "prompt-lookup needs 1 <= min_ngram <= ngram"),
        ((PROMPT, "--verifier", "copuled"), "no verifier is called 'copuled'; did you mean coupled?"),
        ((PROMPT, "--policy", "aditive"), "no policy is called 'aditive'; did you mean additive?"),
        ((PROMPT, "--temperature", "-1"), "temperature is 0 (greedy) or more, got -1.0"),
        ((PROMPT, "--temperature", "nan"), "temperature is 0 (greedy) or more, got nan"),
        ((PROMPT, "--top-k", "-2"), "top_k is 0 (keep all tokens) or more, got -2"),
        ((PROMPT, "--top-p", "2"), "top_p lies in (0, 1], got 2.0"),
        ((PROMPT, "--stop", ""), "a stop string is empty"),
        ((PROMPT, "--dtype", "float12"), "dtype 'float12' is unknown; take auto"),
        ((PROMPT, "--device", "abacus"), "device 'abacus' is not to be had here"),
        ((PROMPT, "--draft", "nowhere/at/all"), "no folder 'nowhere/at/all'"),
        ((PROMPT, "--json", "no/such/folder/out.json"), "cannot be written: there is no folder no/such/folder"),
    ],
)
def test_what_the_user_can_mend_is_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert done.stderr.startswith("decant: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("--max-tokens", "0"), ("--exact", "maybe"), ("--tempo", "1")])
def test_options_out_of_range_are_usage_errors(folder, words):
    done = CliRunner().invoke(app, ["generate", str(folder), PROMPT, *words])
    assert done.exit_code == 2
    assert words[0] in done.stderr
    assert "Traceback" not in done.output


def test_a_draft_of_another_tokenizer_is_refused_naming_both(decant, folder, stranger_folder):
    done = decant(PROMPT, "--draft", str(stranger_folder))
    assert done.exit_code == 2
    assert f"the tokenizers of {folder} and {stranger_folder} differ" in done.stderr


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "no folder"),
        ({}, "holds no config.json"),
        ({"config.json": "{"}, "cannot be read"),
        ({"config.json": "{}"}, "holds no *.safetensors file"),
        ({"config.json": "{}", "pytorch_model.bin": "x"}, "has pickle weights only"),
        ({"config.json": '{"model_type": "llama"}', "model.safetensors": "x"}, "could not be loaded"),
    ],
)
def test_a_folder_that_is_no_model_is_a_sentence(tmp_path, files, message):
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    done = CliRunner().invoke(app, ["generate", str(folder), PROMPT])
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.startswith("decant: ")
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_is_one_line_that_says_how_to_see_more(decant, monkeypatch):
    def fails(*given):
        raise RuntimeError("the roof\nis on fire")

    monkeypatch.setattr("decant.apps.session.compose", lambda *given, **named: fails())
    done = decant(PROMPT)
    assert done.exit_code == 1
    assert done.stderr.startswith(
        "decant: unexpected RuntimeError: the roof is on fire (DECANT_TRACEBACK=1 shows where"
    )
    monkeypatch.setenv("DECANT_TRACEBACK", "1")
    assert isinstance(decant(PROMPT).exception, RuntimeError)


def test_an_interrupt_is_130(decant, monkeypatch):
    def interrupted(*given):
        raise KeyboardInterrupt

    monkeypatch.setattr("decant.apps.session.Continuous.step", interrupted)
    done = decant(PROMPT)
    assert (done.exit_code, done.stderr) == (130, "decant: interrupted\n")


def test_a_closed_pipe_is_no_failure(decant, monkeypatch):
    def closed(text):
        raise BrokenPipeError

    monkeypatch.setattr("decant.apps.cli.generate.write", closed)
    done = decant(PROMPT)
    assert (done.exit_code, done.stderr) == (0, "")


def test_a_draft_store_makes_the_next_run_cheaper_and_changes_no_text(decant, tmp_path, caplog):
    """And a store that was damaged is told of, not used, and replaced."""
    words = (PROMPT, "--method", "token-recycling", "--json", "-", "--quiet", "--draft-store", str(tmp_path / "kept"))
    first, second = (json.loads(decant(*words).stdout) for _ in range(2))
    assert second["text"] == first["text"]
    assert second["target_calls"] < first["target_calls"]
    (file,) = (tmp_path / "kept").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with caplog.at_level(logging.WARNING, logger="decant"):
        third = json.loads(decant(*words).stdout)
    assert "starts with an empty one and replaces it" in caplog.text
    assert third["target_calls"] == first["target_calls"]
    assert json.loads(decant(*words).stdout)["target_calls"] == second["target_calls"]
