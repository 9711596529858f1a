import json
import shutil

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.apps.teaching import Asked
from decant.distill.heads import teach
from decant.models.heads.folder import read
from tests.filling import full


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"Take {at}, then add {at + 1}."} for at in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def decant(folder, prompts, tmp_path):
    def run(recipe: str, *words: str, out: str = "out", steps: int = 3):
        asked = ["distill", recipe, "--teacher", str(folder), "--data", str(prompts), "--out", str(tmp_path / out)]
        few = ["--steps", str(steps), "--batch", "2", "--max-tokens", "12"]
        return CliRunner().invoke(app, [*asked, *few, *words])

    return run


@pytest.mark.parametrize("recipe", ["medusa:num_heads=2", "eagle:draft_vocab=40:heads=1", "eagle3:unroll=2"])
def test_a_head_is_taught_and_written(recipe, decant, tmp_path, folder):
    done = decant(recipe)
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()][:3] == ["folder", "head", "depth"]
    kind = recipe.partition(":")[0]
    out = tmp_path / "out"
    net = read(out)
    assert (net.spec.kind, net.spec.teacher) == (kind, str(folder))
    assert {file.name for file in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "recipe.json", "training",
    }  # fmt: skip
    assert len((out / "training" / "answers.jsonl").read_text().splitlines()) == 6
    card = (out / "README.md").read_text()
    assert f"decant distill {recipe} --teacher {folder}" in card
    kept = json.loads((out / "recipe.json").read_text())
    assert kept["versions"]["torch"]
    assert kept["steps"] == 3
    assert kept["command"].endswith("--steps 3 --batch 2 --max-tokens 12")


def test_a_full_disk_at_the_end_of_a_run_is_no_bug(decant, tmp_path):
    assert decant("medusa").exit_code == 0
    before = (tmp_path / "out" / "model.safetensors").read_bytes()
    (tmp_path / "out" / "model.safetensors").unlink()
    with full(3000):  # recipe.json finds room, the weights do not
        done = decant("medusa", "-q")
    assert done.exit_code == 2, done.output
    assert "could not be written: File too large; what was learnt is in the run's last checkpoint. Make" in done.stderr
    assert decant("medusa", "--resume").exit_code == 0
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before


def test_an_edited_file_of_prompts_is_another_run(decant, prompts, tmp_path):
    assert decant("medusa").exit_code == 0
    before = prompts.read_text()
    prompts.write_text(before + before.splitlines()[0].replace("Take 0", "Take 9") + "\n")
    again = ["distill", "--recipe", str(tmp_path / "out" / "recipe.json"), "--out", str(tmp_path / "again")]
    for refused, otherwise in (
        (decant("medusa", "--resume"), "give a new folder"),
        (CliRunner().invoke(app, again), "begin a run of its own"),
    ):
        assert refused.exit_code == 2, refused.output
        said = " ".join(refused.stderr.split())
        assert f"is of a run on {prompts} as it was (sha256 " in said
        assert f"; put it back, or {otherwise}" in said
    assert not (tmp_path / "again").exists()
    prompts.write_text(before)
    assert decant("medusa", "--resume").exit_code == 0
    assert CliRunner().invoke(app, again).exit_code == 0


@pytest.mark.parametrize("method", ["medusa", "eagle", "eagle-2", "eagle3", "glide", "fspad", "falcon", "chimera"])
def test_a_taught_head_drafts_and_nothing_is_lost(method, decant, tmp_path, folder):
    kind = "eagle" if method == "eagle-2" else method
    assert decant(kind).exit_code == 0
    target = tmp_path / "target"
    shutil.copytree(folder, target)
    (target / "decant.json").write_text(json.dumps({"heads": {kind: "../out"}}))
    asked = ["Take 3, then", "--max-tokens", "24", "-q"]
    given = [str(folder), *asked, "--draft", str(tmp_path / "out")]
    said = [
        CliRunner().invoke(app, ["generate", *words])
        for words in (
            [str(folder), *asked, "--method", "plain"],
            [str(target), *asked, "--method", method],
            [*given, "--method", method],
        )
    ]
    for one in said[1:]:
        assert one.exit_code == 0, one.output
        assert one.stdout == said[0].stdout


def test_without_a_head_a_sentence_says_how_to_get_one(folder):
    done = CliRunner().invoke(app, ["generate", str(folder), "Take 3", "--method", "eagle"])
    assert done.exit_code == 2
    sentence = " ".join(done.stderr.split())
    assert f"eagle needs a trained head and {folder} names none; teach one with decant distill eagle" in sentence


def test_json_on_standard_output_stands_alone(decant):
    report = json.loads(decant("medusa", "--json", "-", "--quiet").stdout)
    assert report["kind"] == "medusa"
    assert len(report["accuracy"]) == len(report["in_row"]) == 4
    assert report["parameters"] == 4 * (32 * 32 + 32)
    assert report["machine"]["torch"]


def test_an_interrupted_run_goes_on(decant, monkeypatch, tmp_path):
    train = teach.train

    def interrupted(net, loss, batches, *rest):
        def stop(step: int):
            if step == 2:
                raise KeyboardInterrupt
            return batches(step)

        train(net, loss, stop, *rest)

    monkeypatch.setattr(teach, "train", interrupted)
    done = decant("eagle")
    assert done.exit_code == 130
    assert f"the same command goes on from {tmp_path / 'out'}" in done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
    monkeypatch.setattr(teach, "train", train)
    assert decant("eagle").exit_code == 0
    assert decant("eagle", out="whole").exit_code == 0
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "whole"))
    assert one.read_bytes() == two.read_bytes()


def test_what_the_user_can_mend_is_a_sentence(decant, tmp_path):
    for recipe, words, sentence in (
        ("eagel", [], "no recipe is called 'eagel'; did you mean eagle"),
        ("eagle:depth=3", [], "eagle has no knob 'depth'; did you mean"),
        ("eagle:heads=3:kv_heads=2", [], "heads (3) must be a multiple of kv_heads (2)"),
        ("eagle", ["--limit", "0"], "Invalid value for '--limit'"),
        ("eagle", ["--length", "8"], "has an answer within 8 tokens; raise --length"),
    ):
        done = decant(recipe, *words, out=f"out{len(sentence)}")
        assert done.exit_code == 2, done.output
        assert sentence in " ".join(done.stderr.replace("│", " ").split())
    assert decant("eagle", steps=2).exit_code == 0
    done = decant("eagle", steps=4)
    assert done.exit_code == 2
    assert "holds a run with steps '2', not '4'; ask for the same" in " ".join(done.stderr.split())


def test_the_command_says_what_was_asked(tmp_path):
    asked = Asked("eagle:ce=1", "house:target", "house:mixture", tmp_path, minutes=2.0, rate=0.001)
    said = f"decant distill eagle:ce=1 --teacher house:target --data house:mixture --out {tmp_path}"
    assert asked.command() == f"{said} --minutes 2.0 --rate 0.001"


@pytest.mark.slow
def test_the_house_mixture_and_its_questions(tmp_path):
    for source in ("house:mixture", "house:tasks"):
        words = [
            "distill",
            "medusa",
            "--teacher",
            "house:target",
            "--data",
            source,
            "--out",
            str(tmp_path / source[6:]),
        ]
        few = ["--steps", "2", "--batch", "2", "--length", "128", "--limit", "4", "--max-tokens", "40", "-q"]
        done = CliRunner().invoke(app, [*words, *few])
        assert done.exit_code == 0, done.output
