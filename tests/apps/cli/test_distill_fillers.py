"""`decant distill mdlm`, `dparallel` and `learn2pd`: from a causal model to one that fills in masks, and on."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from decant.apps import fillers
from decant.apps.cli import app
from decant.apps.lessons import lessons_of
from decant.apps.teaching import Asked
from decant.distill.diffusion.dparallel import DParallel
from decant.models.load import load
from decant.models.trainee import Trainee
from tests.apps.cli.students import sums

FEW = ["--steps", "3", "--batch", "4", "--length", "96"]


@pytest.fixture
def decant(folder, tmp_path):
    def run(recipe: str, *words: str, student: str = "", out: str = "out", texts: str = ""):
        file = sums(tmp_path / "data.jsonl")
        asked = ["distill", recipe, "--student", student or str(folder), "--data", texts or str(file)]
        return CliRunner().invoke(app, [*asked, "--out", str(tmp_path / out), *FEW, *words])

    return run


@pytest.fixture(scope="module")
def filler(folder, tmp_path_factory):
    """A model that fills in masks, hardly taught."""
    place = tmp_path_factory.mktemp("filler")
    words = [
        "distill",
        "mdlm:reads=canvas:block=8",
        "--student",
        str(folder),
        "--data",
        str(sums(place / "data.jsonl")),
    ]
    done = CliRunner().invoke(app, [*words, "--out", str(place / "model"), *FEW])
    assert done.exit_code == 0, done.output
    return place / "model"


@pytest.mark.parametrize(
    ("recipe", "block", "reads"),
    [
        ("mdlm:block=8", 8, "its answer in blocks of 8 places"),
        ("mdlm:reads=canvas:opening=2", None, "all of its answer"),
    ],
)
def test_a_causal_model_learns_to_fill_in_masks(decant, tmp_path, target, recipe, block, reads) -> None:
    done = decant(recipe, "--steps", "10")
    assert done.exit_code == 0, done.output
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names == ["folder", "steps", "nats a place", "likeliest id is the text's", "right and certain"]
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} >= {
        "README.md", "config.json", "model.safetensors", "recipe.json", "tokenizer.json", "training",
    }  # fmt: skip
    mask = target.model.vocab
    config = json.loads((out / "config.json").read_text())
    assert config["masked_diffusion"] == {
        "mask_token_id": mask, "shift": True, "causal_prompt": True, "block": block
    }  # fmt: skip
    kept = json.loads((out / "recipe.json").read_text())
    assert kept["knobs"]["block"] == (block or 32)
    assert kept["after"]["nats"] != kept["before"]["nats"]
    assert kept["after"]["masked"] == kept["before"]["masked"] > 10
    text = (out / "README.md").read_text()
    assert f"decant distill {recipe} --data" in text
    assert f"reads its prompt from left to right and {reads} from both sides" in text
    assert f"| mask | id {mask}, row i of the logits predicts token i + 1 |" in text
    assert (out / "training" / "metrics.jsonl").read_text().count("\n") == 1

    made = load(str(out))
    assert made.masked is not None
    assert (made.masked.mask, made.masked.vocab, made.masked.convention.shift) == (mask, mask + 1, True)
    asked = ["generate", str(out), "Take 3, then", "--max-tokens", "8", "-q"]
    for method in ("plain", "threshold"):
        done = CliRunner().invoke(app, [*asked, "--method", method])
        assert done.exit_code == 0, done.output


def test_one_that_fills_in_masks_is_taught_on(decant, filler, tmp_path) -> None:
    for recipe, out in (("mdlm:share=1", "more"), ("dparallel:block=8", "sure"), ("dparallel:answers=own", "own")):
        done = decant(recipe, "--max-tokens", "16", student=str(filler), out=out)
        if out == "own" and done.exit_code:  # a model that was hardly taught may never end an answer
            assert "answers has ended" in " ".join(done.stderr.split())
            assert (tmp_path / out / "training" / "answers.jsonl").read_text().count("\n") == 20
            continue
        assert done.exit_code == 0, done.output
        one, two = (load_file(place / "model.safetensors") for place in (filler, tmp_path / out))
        assert one.keys() == two.keys()
        assert any(not one[name].equal(two[name]) for name in one)
        assert load(str(tmp_path / out)).masked is not None


def test_an_interrupted_run_goes_on(decant, monkeypatch, tmp_path) -> None:
    run = fillers.run

    def interrupted(network, training, settings, folder):
        inner = training.batches

        class Stopping:
            def __getattr__(self, name):
                return getattr(training, name)

            def batches(self, state, step, share):
                if step == 2:
                    raise KeyboardInterrupt
                return inner(state, step, share)

        stopping: Any = Stopping()
        run(network, stopping, fillers.replace(settings, save_every=1), folder)

    monkeypatch.setattr(fillers, "run", interrupted)
    done = decant("mdlm")
    assert done.exit_code == 130, done.output
    assert f"the same command goes on from {tmp_path / 'out'}" in done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
    monkeypatch.setattr(fillers, "run", run)
    assert decant("mdlm").exit_code == 0
    assert decant("mdlm", out="whole").exit_code == 0
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "whole"))
    assert one.read_bytes() == two.read_bytes()
    done = decant("mdlm:share=1")
    assert done.exit_code == 2
    assert "holds a run with recipe 'mdlm', not 'mdlm:share=1'" in " ".join(done.stderr.split())


def test_a_plan_tells_and_writes_nothing(decant, tmp_path, filler) -> None:
    done = decant("dparallel:answers=own", "--plan", "--minutes", "1", student=str(filler))
    assert done.exit_code == 0, done.output
    assert "the model answers 20 prompts" in " ".join(done.stdout.split())
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_a_sentence(decant, tmp_path, folder, filler) -> None:
    bare = tmp_path / "bare.jsonl"
    bare.write_text('{"prompt": "Take 1."}\n{"prompt": "Take 2."}\n')
    for recipe, words, other, sentence in (
        (
            "mdlm",
            ["--teacher", str(folder)],
            {},
            "--teacher is not for mdlm: a model learns to fill in masks from texts",
        ),
        ("mdlm", ["--temperature", "1"], {}, "--temperature is not for mdlm: answers are the data's"),
        ("mdlm", ["--lora", "2"], {}, "--lora leaves the table of embeddings as it is"),
        ("mdlm", ["--ray", "auto"], {}, "--ray is not for mdlm: no other model teaches"),
        (
            "mdlm:opening=3",
            [],
            {"student": str(filler)},
            "fills in masks already; leave mdlm's reads, shift and opening out",
        ),
        ("mdlm:lest=3", [], {}, "mdlm has no knob 'lest'; did you mean least?"),
        ("mdlm", [], {"texts": str(bare)}, "bare.jsonl holds prompts alone; give answers"),
        ("dparallel", [], {}, "speaks from left to right, and dparallel is for models that fill in masks"),
        ("dparallel:answers=own", [], {"student": str(filler), "texts": "house:mixture"}, "a model cannot answer"),
        ("mdlm", [], {"texts": "house:mixture"}, "house:mixture is written in the house's tokens"),
    ):
        done = decant(recipe, *words, **other)
        assert done.exit_code == 2, done.output
        assert sentence in " ".join(done.stderr.split())
        assert not (tmp_path / "out").exists()
    words = ["distill", "mdlm", "--data", str(bare), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert "mdlm teaches a model; name it with --student" in " ".join(done.stderr.split())


def test_a_filter_is_taught_and_found(filler, folder, tmp_path) -> None:
    texts = tmp_path / "prompts.jsonl"
    texts.write_text("".join(json.dumps({"prompt": f"Take {at}, then"}) + "\n" for at in range(4)))
    out = tmp_path / "filter"

    def distilled(teacher, *words: str):
        asked = ["distill", "learn2pd:block=8", "--teacher", str(teacher), "--data", str(texts), "--out", str(out)]
        return CliRunner().invoke(app, [*asked, "--steps", "20", "--max-tokens", "16", *words])

    done = distilled(filler)
    assert done.exit_code == 0, done.output
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == ["folder", "examples", "passes", "settles"]
    learnt = json.loads((out / "recipe.json").read_text())["learnt"]
    assert learnt["plain"] == 3 * 16
    assert learnt["oracle"] <= learnt["plain"]
    asked = ["generate", str(filler), "Take 3, then", "--max-tokens", "16", "-q", "--method"]
    plain = CliRunner().invoke(app, [*asked, "low-confidence:block=8"])
    found = CliRunner().invoke(app, [*asked, f"learn2pd:filter={out}:tau=1.1:block=8"])
    assert found.exit_code == 0, found.output
    assert found.stdout == plain.stdout
    assert CliRunner().invoke(app, [*asked, f"learn2pd:filter={out}:tau=0.1"]).exit_code == 0
    missing = CliRunner().invoke(app, [*asked, "learn2pd"])
    assert missing.exit_code == 2
    assert "learn2pd needs a trained filter" in " ".join(missing.stderr.split())
    for teacher, words, sentence in (
        (folder, (), "speaks from left to right, and learn2pd is for models that fill in masks"),
        (filler, ("--student", str(folder)), "--student is not for learn2pd"),
        (filler, ("--temperature", "1"), "its labels need greedy answers"),
    ):
        done = distilled(teacher, *words)
        assert done.exit_code == 2
        assert sentence in " ".join(done.stderr.split())


def test_adapters_are_taught_and_merged(decant, filler, tmp_path) -> None:
    pytest.importorskip("peft", reason="the extra [lora] is not installed")
    done = decant("dparallel:block=8", "--lora", "2", student=str(filler))
    assert done.exit_code == 0, done.output
    one, two = (load_file(place / "model.safetensors") for place in (filler, tmp_path / "out"))
    assert one.keys() == two.keys()
    moved = {name for name in one if not one[name].equal(two[name])}
    assert moved
    assert not any("embed" in name or "norm" in name for name in moved)
    assert load(str(tmp_path / "out")).masked is not None


def test_the_house_s_own_stream_is_laid_out_as_the_model_reads() -> None:
    """Blocks of 16, in steps of at most batch x length places: block and room were taken for one another once."""
    asked = Asked("dparallel", "", "house:mixture", Path("unused"), student="house:diffusion", batch=4, length=256)
    lessons = lessons_of(asked, DParallel(), Trainee.open("house:diffusion", torch.device("cpu")), lambda *_: None)
    for step in range(3):
        ids_BT, weights_BT = lessons.taught(step)
        assert ids_BT.numel() <= 4 * 256
        tailed_B = ((weights_BT > 0) & (weights_BT < 1)).any(-1)
        assert tailed_B.any()
        assert not ((weights_BT[tailed_B] > 0).sum(-1) % 16).any()
