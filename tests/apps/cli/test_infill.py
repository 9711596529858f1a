"""`decant generate --infill`, and what it tells of canvases."""

import json
import re

import pytest
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.cli import app
from decant.apps.infilling import Infill

TEXT = "Take 1,[MASK:5] then add 2.[MASK:3]\n"


@pytest.fixture
def decant(filler_folder):
    """`decant generate FOLDER ...` with a model that fills in masks."""
    words = ["generate", str(filler_folder), "--dtype", "float32", "--temperature", "0"]
    return lambda *more, **given: CliRunner().invoke(app, [*words, *more], **given)


def test_standard_output_is_the_whole_text(decant, filler):
    done = decant("--infill", TEXT)
    assert done.exit_code == 0, done.output
    said = generate(filler, Infill(TEXT), temperature=0)
    assert done.stdout == said.text
    assert re.search(rf"^{said.filled} tokens in \d+\.\d\d s and 8 passes, .* a pass; low-confidence: the", done.stderr)
    assert f", {said.filled / 8:.2f} a pass" in done.stderr


def test_a_template_may_come_through_a_pipe(decant):
    assert decant("--infill", input=TEXT + "\n").stdout == decant("--infill", TEXT).stdout


def test_a_file_of_templates(decant, tmp_path, filler):
    file = tmp_path / "t.jsonl"
    templates = [TEXT, "[MASK:4] is 3", "Take[MASK:2]"]
    file.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in templates))
    done = decant("--infill", "--prompts", str(file), "--batch", "2", "--method", "threshold:tau=0.3")
    want = [generate(filler, Infill(one), temperature=0, method="threshold:tau=0.3") for one in templates]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["text"], line["tokens"]) for line in lines] == [(one.text, one.filled) for one in want]
    tokens = sum(one.filled or 0 for one in want)
    assert re.search(rf"^3 prompts, {tokens} tokens in \d+\.\d\d s, \d+\.\d tokens/s, \d\.\d\d a pass; ", done.stderr)
    file.write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
    assert (
        "t.jsonl line 1 holds messages, and --infill fills in texts"
        in decant("--infill", "--prompts", str(file)).stderr
    )
    file.write_text('{"prompt": "a[MASK:1]"}\n{"prompt": "none"}\n')
    assert "t.jsonl line 2 has no gap to fill in" in decant("--infill", "--prompts", str(file)).stderr


def test_prompts_of_canvases_in_batches(decant, tmp_path):
    """A prompt's text does not depend on how many run beside it; end tokens behind the first are no tokens."""
    file = tmp_path / "p.txt"
    file.write_text("Take 1, then\nTake 30\nThe answer is 3 and\n")
    words = ["--prompts", str(file), "--max-tokens", "10"]
    together, alone = decant(*words, "--batch", "3"), decant(*words, "--batch", "1")
    assert together.exit_code == 0, together.output
    assert together.stdout == alone.stdout
    assert len(together.stdout.splitlines()) == 3


def test_under_a_grammar_the_whole_text_follows_it(decant, tmp_path):
    done = decant("--infill", '{"a": [MASK:4]}', "--fill-grammar", "json", "--json", "-")
    report = json.loads(done.stdout)
    assert isinstance(json.loads(report["text"]), dict)
    assert report["settings"]["fill_grammar"] == "json"
    assert report["filled"] <= 4
    rules = tmp_path / "sums.txt"
    rules.write_text('sum: NUMBER ("+" NUMBER)*\nNUMBER: /[0-9]+/\n')
    said = decant("--infill", "1[MASK:6]2", "--fill-grammar", str(rules))
    assert re.fullmatch(r"1[0-9+]*2", said.stdout), said.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--infill", "no gap"), "the template has no gap to fill in; write [MASK:n]"),
        (("--infill", "a[MASK:0]"), "the template: [MASK:0] has no number of places"),
        (("--infill", "--chat", TEXT), "--chat: not with --infill, where the template is all there is; leave it out"),
        (("--infill", "--stop", "x", "--max-tokens", "3", TEXT), "--max-tokens, --stop: not with --infill"),
        (("--infill", "a[MASK:200]"), "places to fill in, but the context of"),
        (
            ("--infill", TEXT, "--fill-grammar", "jsno"),
            "--fill-grammar jsno is neither json nor c-toy nor a file of text",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(decant, words, message):
    done = decant(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_model_that_speaks_from_left_to_right_is_refused(folder):
    done = CliRunner().invoke(app, ["generate", str(folder), "--infill", TEXT])
    assert done.exit_code == 2
    assert "speaks from left to right and cannot fill in gaps" in done.stderr
