"""`decant prove --engine`: servers on the loopback, from the command line."""

import json
from contextlib import ExitStack

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.testing.completions import Speaker, serving


@pytest.fixture
def decant(tmp_path, monkeypatch):
    """`decant prove --engine ... --twin ...` of servers of these kinds."""
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("DECANT_ENGINE_KEY", "open sesame")
    prompts = tmp_path / "p.txt"
    prompts.write_text("abc\nhag\nde\n")
    asked: list[dict] = []
    with ExitStack() as stack:

        def run(*words: str, engine: str = "lossless"):
            kinds = {"--engine": Speaker.of(engine, 3, 1), "--twin": Speaker.of("plain", 3, 2)}
            urls = [(name, stack.enter_context(serving(one, asked))) for name, one in kinds.items()]
            given = [*(word for pair in urls for word in pair), "--prompts", str(prompts), "--max-tokens", "12"]
            return CliRunner().invoke(app, ["prove", *given, "--samples", "180", "-q", *words])

        run.asked = asked
        yield run


def test_an_honest_engine_is_certified_and_again(decant, tmp_path):
    file, page = tmp_path / "c.json", tmp_path / "c.html"
    done = decant("--json", str(file), "--html", str(page))
    assert done.exit_code == 0, done.output
    assert "holds  greedy texts: the engine leaves its twin no more often than the twin leaves itself" in done.stdout
    assert "holds  continuations at temperature 1" in done.stdout
    assert "power 0.9 where at least" in done.stdout
    assert "engine and twin disagree 0.0%" in done.stdout
    assert page.read_text().startswith("<!")
    assert {one["key"] for one in decant.asked} == {"Bearer open sesame"}
    kept = json.loads(file.read_text())["again"]["typed"]
    assert kept["engine"].startswith("http://127.0.0.1")
    assert not {"quiet", "json", "html", "again", "trust_remote_code"} & kept.keys()
    repeated = CliRunner().invoke(app, ["prove", "--again", str(file), "-q"])
    assert f"Repeated {file} on the same kind of machine: the same verdict." in repeated.stdout
    assert repeated.exit_code == 0


def test_a_broken_engine_is_refused_with_its_first_difference(decant):
    done = decant(engine="accepts all")
    assert done.exit_code == 1
    assert "FAILS  greedy texts" in done.stdout
    assert "first difference: prompt 1, character " in done.stdout
    assert "The certificate does NOT hold" in done.stdout


def test_what_is_missing_is_said(decant, tmp_path, monkeypatch):
    alone = CliRunner().invoke(app, ["prove", "--engine", "http://127.0.0.1:9"])
    assert alone.exit_code == 2
    assert "give --engine URL and --twin URL" in alone.stderr
    nothing = CliRunner().invoke(app, ["prove"])
    assert nothing.exit_code == 2
    assert "prove needs a MODEL; or --engine URL" in nothing.stderr
    both = CliRunner().invoke(app, ["prove", "house:target", "--engine", "http://a", "--twin", "http://b"])
    assert "leave house:target out" in both.stderr
    typed = {"engine": "http://far.example", "twin": "http://far.example", "prompts": "house:tasks"}
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({"checks": [], "again": {"typed": typed, "marks": {}}}))
    leak = CliRunner().invoke(app, ["prove", "--again", str(file)])
    assert leak.exit_code == 2
    assert "DECANT_ENGINE_KEY would be sent to http://far.example, which a file names and not you" in leak.stderr
