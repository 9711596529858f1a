"""`decant distill router`: from two models to a folder that `r2r` reads."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from decant.apps.choosing import warp_of
from decant.apps.cli import app
from decant.apps.compose import compose
from decant.apps.sampling import Sampling
from decant.distill import router as lessons
from decant.errors import BadInput
from decant.models.router import read


@pytest.fixture(scope="module")
def pair(folder, draft_folder, tmp_path_factory):
    """A target and a draft with opinions: fresh weights repeat the last token for ever."""
    places = []
    for model in (folder, draft_folder):
        place = tmp_path_factory.mktemp("pair") / model.name
        shutil.copytree(model, place)
        weights = load_file(place / "model.safetensors")
        loud = {name: weight * (1 if weight.dim() < 2 or "embed" in name else 12) for name, weight in weights.items()}
        save_file(loud, place / "model.safetensors", metadata={"format": "pt"})
        places.append(place)
    (places[0] / "decant.json").write_text(json.dumps({"draft": str(places[1])}))
    return places


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"Take {at}, then add {at + 1}."} for at in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def decant(pair, prompts, tmp_path):
    def run(*words: str, recipe: str = "router:epochs=2:tokens=16:blocks=1", out: str = "out", texts: str = ""):
        asked = ["distill", recipe, "--teacher", str(pair[0]), "--data", texts or str(prompts)]
        return CliRunner().invoke(app, [*asked, "--out", str(tmp_path / out), "--max-tokens", "8", *words])

    return run


@pytest.fixture(autouse=True)
def one_in_three_leads_elsewhere(monkeypatch):
    """Models that were never taught always part, and never end a sentence: here the judge lets two mismatches of three
    pass, and a sentence is short."""
    monkeypatch.setattr(lessons, "SENTENCE", 3)
    asked = iter(range(10**6))
    monkeypatch.setattr(lessons, "strictly", lambda *texts: next(asked) % 3 == 0)


def test_a_router_is_taught_written_and_drives_r2r(decant, tmp_path, pair) -> None:
    folder, draft_folder = pair
    done = decant()
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "folder", "router", "labels", "threshold", "caught", "sent",
    ]  # fmt: skip
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "recipe.json", "training",
    }  # fmt: skip
    kept = json.loads((out / "recipe.json").read_text())
    learnt = kept["learnt"]
    assert learnt["student"].endswith("draft")
    assert learnt["tokens"] == 5 * 8  # one of six answers is measured on
    assert learnt["differs"] > learnt["elsewhere"] > 0
    assert 0 <= learnt["sent"] <= 1
    assert read(out).spec.threshold == learnt["threshold"]
    card = (out / "README.md").read_text()
    assert f"decant distill router:epochs=2:tokens=16:blocks=1 --teacher {folder}" in card
    assert f"--method r2r:router={out}" in card
    asked = ["generate", str(folder), "Take 3, then", "--max-tokens", "12", "-q", "--method"]
    alone = [CliRunner().invoke(app, ["generate", str(one), *asked[2:], "plain"]).stdout for one in pair]
    routed = {
        at: CliRunner().invoke(app, [*asked, f"r2r:router={out}:threshold={at}", "--draft", str(draft_folder)])
        for at in ("0", "1.01")
    }
    assert all(one.exit_code == 0 for one in routed.values()), [one.output for one in routed.values()]
    assert routed["0"].stdout == alone[0], "the target is always asked"
    assert routed["1.01"].stdout == alone[1], "the target is never asked"
    assert alone[0] != alone[1]
    assert CliRunner().invoke(app, [*asked, f"r2r:router={out}"]).exit_code == 0, "the target names its draft"


def test_a_student_is_named_or_the_teachers_draft(decant, pair, stranger_folder, tmp_path) -> None:
    draft_folder = pair[1]
    done = decant("--student", str(draft_folder), out="named")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "named" / "recipe.json").read_text())
    assert kept["asked"]["student"] == str(draft_folder)
    assert f"--student {draft_folder}" in kept["command"]
    assert decant().exit_code == 0
    assert "student" not in json.loads((tmp_path / "out" / "recipe.json").read_text())["asked"]
    files = [tmp_path / name / "model.safetensors" for name in ("named", "out")]
    assert files[0].stat().st_size == files[1].stat().st_size
    done = decant("--student", str(stranger_folder), out="other")
    assert done.exit_code == 2
    assert "differ; a router needs a student of the same tokenizer" in " ".join(done.stderr.split())


def test_what_does_not_fit_a_router_is_a_sentence(decant) -> None:
    for words, sentence in (
        (["--steps", "3"], "--steps is not for router: it is taught for router:epochs=50"),
        (["--minutes", "3"], "--minutes is not for router"),
        (["--temperature", "1"], "--temperature is not for router: its labels need greedy answers"),
    ):
        done = decant(*words)
        assert done.exit_code == 2
        assert sentence in " ".join(done.stderr.split())
    done = decant(texts="house:mixture")
    assert "a router learns from answers, and house:mixture is text that nobody asked for" in done.stderr
    done = decant(recipe="router:steps=3")
    assert "router has no knob 'steps'" in done.stderr


def test_an_interrupted_run_ends_with_the_same_weights(decant, monkeypatch, tmp_path) -> None:
    train = lessons.train

    def interrupted(net, loss, batches, settings, folder, saved):
        def stop(step: int):
            if step == 4:
                raise KeyboardInterrupt
            return batches(step)

        train(net, loss, stop, settings, folder, saved)

    monkeypatch.setattr(lessons, "train", interrupted)
    monkeypatch.setattr(lessons, "strictly", lambda before, *texts: len(before) % 3 == 0)
    assert decant().exit_code == 130
    assert not (tmp_path / "out" / "model.safetensors").exists()
    monkeypatch.setattr(lessons, "train", train)
    assert decant().exit_code == 0
    assert decant(out="whole").exit_code == 0
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "whole"))
    assert one.read_bytes() == two.read_bytes()


def test_without_a_router_a_sentence_names_the_command(target, draft, folder) -> None:
    warp = warp_of(Sampling(temperature=0.0))
    with pytest.raises(BadInput) as raised:
        compose("r2r", target, draft, warp)
    assert f"teach one with decant distill router --teacher {folder} --student" in str(raised.value)
    assert "give its folder as r2r:router=DIR" in str(raised.value)
    with pytest.raises(BadInput, match="nowhere holds no router that can be read"):
        compose("r2r:router=nowhere", target, draft, warp)
    with pytest.raises(BadInput, match="ead has no knob 'router'"):
        compose("ead:router=nowhere", target, draft, warp)
    with pytest.raises(BadInput, match="draft-model has no knob 'head'"):
        compose("draft-model:head=nowhere", target, draft, warp)
    with pytest.raises(BadInput, match=r"nowhere holds no config\.json; give the folder of a head"):
        compose("eagle:head=nowhere", target, draft, warp)
