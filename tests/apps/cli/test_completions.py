"""`decant generate --prompts`: many prompts, a line each."""

import json
import re
from contextlib import contextmanager

import pytest
from typer.testing import CliRunner

from decant.apps.api import generate
from decant.apps.cli import app
from decant.apps.cli.progress import _bar

PROMPT = "Take 1, then add 2."
LINES = [PROMPT, "Take 3", "Take 5, then add 6. The answer"]
TINY = ["--dtype", "float32", "--max-tokens", "12"]


@pytest.fixture
def decant(folder):
    """`decant generate FOLDER ...`"""
    return lambda *words, **given: CliRunner().invoke(app, ["generate", str(folder), *TINY, *words], **given)


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "p.txt"
    file.write_text("\n".join(LINES) + "\n")
    return str(file)


def test_many_prompts_are_a_line_of_json_each(decant, prompts, target, draft):
    done = decant("--prompts", prompts)
    assert done.exit_code == 0, done.output
    want = generate(target, LINES, draft=draft, max_tokens=12)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "prompt": at,
            "text": said.text,
            "tokens": 12,
            "reason": "length",
            "acceptance_length": said.acceptance_length,
        }
        for at, said in enumerate(want)
    ]
    assert re.search(
        r"^3 prompts, 36 tokens in \d+\.\d\d s, \d+\.\d tokens/s, \d\.\d\d a target call; draft-model", done.stderr
    )


def test_many_prompts_may_come_through_a_pipe_or_from_the_house(decant, prompts):
    assert (
        decant("--prompts", "-", input="\n".join(LINES)).stdout == decant("--prompts", prompts, "--batch", "1").stdout
    )
    assert len(decant("--prompts", "house:tasks", "--limit", "2", "--max-tokens", "2").stdout.splitlines()) == 2


def test_lines_keep_the_order_of_the_prompts(decant, target):
    """The second prompt has no room for as many tokens: it ends first, and waits."""
    texts = ("Take 1" * count for count in range(1, 999))
    long = next(text for text in texts if len(target.encode(text)) > target.model.context - 8)
    done = decant("--prompts", "-", "--method", "plain", input=f"{PROMPT}\n{long}\n")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["prompt"], line["tokens"]) for line in lines] == [
        (0, 12),
        (1, target.model.context - len(target.encode(long))),
    ]
    assert lines[1]["tokens"] < 12


def test_the_report_of_many_prompts(decant, prompts, tmp_path):
    done = decant("--prompts", prompts, "--cache-mb", "50", "--json", str(tmp_path / "out.json"))
    report = json.loads((tmp_path / "out.json").read_text())
    one = json.loads(decant(LINES[0], "--json", "-").stdout)
    assert report["settings"] == one["settings"] | {"batch": 8, "cache_mb": 50.0}
    assert report["completions"][0] == {key: one[key] for key in report["completions"][0]}
    assert set(report) == set(one) - set(report["completions"][0]) | {"completions"}
    assert [said["text"] for said in report["completions"]] == [
        json.loads(line)["text"] for line in done.stdout.splitlines()
    ]
    alone = decant("--prompts", prompts, "--json", "-")
    assert json.loads(alone.stdout)["completions"] == report["completions"]


def test_chat_answers_every_line(decant, prompts, target, draft):
    messages = [[{"role": "user", "content": line}] for line in LINES]
    want = [said.text for said in generate(target, messages, draft=draft, max_tokens=12)]
    done = decant("--prompts", prompts, "--chat")
    assert [json.loads(line)["text"] for line in done.stdout.splitlines()] == want


def test_lines_outlive_an_interrupt(decant, prompts, monkeypatch):
    @contextmanager
    def impatient(quiet=False):
        def tell(done, total, text):
            if (done, total) == (2, 3):
                raise KeyboardInterrupt

        yield tell

    whole = decant("--prompts", prompts).stdout.splitlines()
    monkeypatch.setattr("decant.apps.cli.completions.progress", impatient)
    done = decant("--prompts", prompts, "--batch", "1")
    assert (done.exit_code, done.stdout.splitlines()) == (130, whole[:2])
    assert done.stderr.splitlines()[-1] == "decant: interrupted"


def test_a_bar_leaves_standard_output_alone(decant, prompts, monkeypatch):
    """On a terminal rich takes what is written while a bar is shown to where the bar is."""
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    monkeypatch.setattr("decant.apps.cli.completions.progress", lambda quiet: _bar())
    assert len(decant("--prompts", prompts).stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((PROMPT, "--prompts", "FILE"), "a PROMPT and --prompts: one or the other"),
        ((PROMPT, "--batch", "8"), "--batch: for many prompts; give them with --prompts FILE"),
        (
            (PROMPT, "--cache-mb", "9", "--batch", "2", "--limit", "1"),
            "--limit, --batch, --cache-mb: for many prompts; give them with --prompts FILE, or leave this out",
        ),
        (("--prompts", "nowhere.txt"), "the prompts file nowhere.txt does not exist"),
        (("--prompts", "FILE", "--cache-mb", "0.001"), "MB of cache, and there are 0.001; raise the budget"),
        (("--prompts", "FILE", "--cache-mb", "nan"), "cache_mb is more than 0, got nan"),
    ],
)
def test_what_is_wrong_with_many_prompts_is_a_sentence(decant, prompts, words, message):
    done = decant(*(prompts if word == "FILE" else word for word in words))
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_of_many_prompts_the_one_that_is_wrong_is_named(decant):
    done = decant("--prompts", "-", input="Take 1\n" + "Take 1 " * 1200)
    assert done.exit_code == 2
    assert re.search(r"standard input line 2 has [\d,]+ tokens, but the context of", done.stderr)
    assert "standard input holds no prompts; write one a line" in decant("--prompts", "-", input=" \n").stderr
