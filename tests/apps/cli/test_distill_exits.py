"""`decant distill layerskip` and `sorted`: from a teacher to another model, which decant and transformers load."""

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.distill import exits
from decant.models.load import load

FEW = ["--steps", "3", "--batch", "2", "--max-tokens", "12"]


@pytest.fixture
def prompts(tmp_path):
    file = tmp_path / "prompts.jsonl"
    rows = [{"prompt": f"Take {at}, then add {at + 1}."} for at in range(6)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def decant(folder, prompts, tmp_path):
    def run(recipe: str, *words: str, out: str = "out", teacher: str = ""):
        asked = ["distill", recipe, "--teacher", teacher or str(folder), "--data", str(prompts)]
        return CliRunner().invoke(app, [*asked, "--out", str(tmp_path / out), *FEW, *words])

    return run


@pytest.mark.parametrize("recipe", ["layerskip:every=1:skipped=0.2", "sorted:exits=1-2"])
def test_a_model_is_taught_written_and_left_early(recipe, decant, tmp_path, folder, target, prompts) -> None:
    done = decant(recipe, "--rate", "0.01")
    assert done.exit_code == 0, done.output
    lines = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert list(lines) == ["folder", "model", "layer 1", "last layer"]
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} >= {
        "README.md", "config.json", "generation_config.json", "model.safetensors", "recipe.json", "tokenizer.json",
        "training",
    }  # fmt: skip
    assert not (out / "decant.json").exists(), "the teacher's draft and heads are not its own"
    kept = json.loads((out / "recipe.json").read_text())
    learnt = kept["learnt"]
    assert [len(learnt[name]) for name in ("nats", "nats_before", "agreement", "agreement_before")] == [2] * 4
    assert learnt["agreement"][-1] == learnt["agreement_before"][-1] == 1.0
    assert learnt["nats"] != learnt["nats_before"]
    assert kept["knobs"]
    assert f"decant distill {recipe} --teacher {folder}" in (out / "README.md").read_text()

    mine = load(str(out), exact="off")
    assert mine.same_tokenizer(target)
    assert mine.ends == target.ends
    assert mine.encode_chat([{"role": "user", "content": "Take 3"}])
    theirs = AutoModelForCausalLM.from_pretrained(out)
    assert theirs.dtype == torch.float32, "as the teacher's config.json asks"
    before = AutoModelForCausalLM.from_pretrained(folder)
    changed = [not torch.equal(*pair) for pair in zip(theirs.parameters(), before.parameters(), strict=True)]
    assert all(changed), "the whole model is taught"
    assert len(AutoTokenizer.from_pretrained(out)) == len(target.tokenizer)

    asked = ["bench", str(out), "--prompts", str(prompts), "--limit", "1", "--max-tokens", "8", "--repeat", "1"]
    done = CliRunner().invoke(app, [*asked, "--methods", "early-exit,sorted-exits,del", "-q", "--json", "-"])
    assert done.exit_code == 0, done.output
    names = [row["name"] for row in json.loads(done.stdout)["methods"]]
    assert names == ["plain", "early-exit", "sorted-exits", "del"]


def test_an_interrupted_run_goes_on(decant, monkeypatch, tmp_path) -> None:
    train = exits.train

    def interrupted(net, loss, batches, *rest):
        def stop(step: int):
            if step == 2:
                raise KeyboardInterrupt
            return batches(step)

        train(net, loss, stop, *rest)

    monkeypatch.setattr(exits, "train", interrupted)
    done = decant("layerskip")
    assert done.exit_code == 130
    assert f"the same command goes on from {tmp_path / 'out'}" in done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()
    monkeypatch.setattr(exits, "train", train)
    assert decant("layerskip").exit_code == 0
    assert decant("layerskip", out="whole").exit_code == 0
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "whole"))
    assert one.read_bytes() == two.read_bytes()


def test_what_does_not_fit_is_a_sentence(decant, tmp_path, folder) -> None:
    gpt = tmp_path / "gpt"
    shutil.copytree(folder, gpt)
    config = json.loads((gpt / "config.json").read_text())
    (gpt / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    for recipe, words, sentence in (
        ("sorted:exits=1-3", {}, "exits ascend from 1 to the last of the 2 layers"),
        ("layerskip:skipped=1", {}, "LayerSkip needs scale >= 0"),
        ("layerskip", {"teacher": str(gpt)}, "cannot be left early: the activation gelu runs through transformers"),
    ):
        done = decant(recipe, **words)
        assert done.exit_code == 2, done.output
        assert sentence in " ".join(done.stderr.split())
        assert not (tmp_path / "out").exists(), "before the prompts are answered"
    done = decant("layerskip", "--student", str(folder))
    assert "--student is not for layerskip: the model that it teaches is the teacher's own copy" in done.stderr
    done = decant("eagle", "--student", str(folder))
    assert "--student is not for eagle: a head is taught beside its teacher alone" in done.stderr
