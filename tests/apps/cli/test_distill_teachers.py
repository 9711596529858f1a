"""Who teaches a student, where and in how many processes: several models, a cache, a server, adapters, workers."""

import json
import shutil
import subprocess
import sys
import threading
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.models.trainee import Trainee
from tests.apps.cli.students import PLACE, asked, decant, said, weights
from tests.distill.serving import Serving

__all__ = ["asked", "decant"]  # fixtures

HOUSE = {"teacher": "house:target", "student": "house:draft"}


def test_several_teachers_are_one(decant, tmp_path, folder, draft_folder) -> None:
    for name, teacher in (("one", folder), ("two", f"{folder}*0.5+{folder}*1.5")):
        assert decant(teacher=teacher, out=tmp_path / name).exit_code == 0
    one, two = (Trainee.open(str(tmp_path / name)).network for name in ("one", "two"))
    for pair in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(*pair, atol=2e-4, rtol=0)
    done = decant(teacher=f"{folder}*0.7+{draft_folder}*0.3:mean=logs", out=tmp_path / "other")
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "other") != weights(tmp_path / "two")


def test_a_cache_teaches_without_its_teacher(decant, tmp_path, folder, monkeypatch) -> None:
    laws = tmp_path / "laws"
    done = decant("hinton:temperature=1", "--cache", f"{laws}:k=12", "--plan")
    assert done.exit_code == 0, done.output
    assert "tokens with the best 12 ids each" in " ".join(done.stdout.split())
    assert "nats a token are lost" in " ".join(done.stdout.split())
    assert not laws.exists()
    done = decant("hinton:temperature=1", "--cache", f"{laws}:k=12", out=tmp_path / "one")
    assert done.exit_code == 0, done.output
    assert "its 12 best tokens and the rest; KL is a lower bound" in done.stdout
    assert "KL is a lower bound" in (tmp_path / "one" / "README.md").read_text()

    def never(*where: object) -> None:
        raise AssertionError("the teacher was opened")

    monkeypatch.setattr("decant.apps.teachers.Teacher.open", never)
    done = decant("hinton:temperature=1", "--cache", str(laws), teacher=None, out=tmp_path / "two")
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "two") == weights(tmp_path / "one")
    assert f"taught by {folder}" in (tmp_path / "two" / "README.md").read_text()
    monkeypatch.undo()
    for recipe, other, sentence in (
        ("hinton", {}, "was made at temperature 1, not 2"),
        ("gkd", {}, "learns from texts that are written or chosen as it goes, and --cache holds"),
        ("sft", {}, "--cache is not for sft"),
        ("hinton", {"data": "house:mixture"} | HOUSE, "texts that come again, and in house:mixture none does"),
        ("pld", {}, "PlackettLuce needs dense of a teacher, and Cache gives law"),
        ("seqkd", {}, "this recipe needs the teacher itself"),
        ("hinton:temperature=1", {"teacher": f"{folder}+{folder}"}, f"holds what {folder} says, not"),
    ):
        assert sentence in said(decant(recipe, "--cache", str(laws), **other)), sentence
    assert "is not finished; name with --teacher who says the rest" in said(
        decant("taid", "--cache", str(tmp_path / "none"), teacher=None)
    )


def test_a_teacher_that_was_trained_on_since_is_not_in_its_cache(decant, tmp_path, folder) -> None:
    teacher, laws = tmp_path / "teacher", ["--cache", f"{tmp_path / 'laws'}:k=12"]
    shutil.copytree(folder, teacher)
    for name in ("one", "two"):
        done = decant("hinton:temperature=1", *laws, teacher=teacher, out=tmp_path / name)
        assert done.exit_code == 0, done.output
    network = AutoModelForCausalLM.from_pretrained(teacher)
    with torch.no_grad():
        network.get_input_embeddings().weight.mul_(1.5)
    network.save_pretrained(teacher)
    for more in ([], ["--plan"]):
        refused = said(decant("hinton:temperature=1", *laws, *more, teacher=teacher, out=tmp_path / "three"))
        assert f"holds what {teacher} said when its weights were others (fingerprint " in refused
        assert "leave --teacher out to learn from it as it is, or name a new folder" in refused
    done = decant("hinton:temperature=1", *laws, teacher=None, out=tmp_path / "three")
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "three") == weights(tmp_path / "one") == weights(tmp_path / "two")


def test_a_cache_and_a_live_teacher_teach_alike(decant, tmp_path) -> None:
    vocab = 300  # more ids than there are: nothing is in the rest
    laws = ["--cache", f"{tmp_path / 'laws'}:k={vocab}"]
    for name, more in (("live", []), ("cached", laws)):
        done = decant("hinton:temperature=1", *more, out=tmp_path / name)
        assert done.exit_code == 0, done.output
    live, cached = (json.loads((tmp_path / name / "recipe.json").read_text())["after"] for name in ("live", "cached"))
    for name in ("kl", "agreement", "acceptance", "nats"):
        assert cached[name] == pytest.approx(live[name], abs=2e-3), name


@pytest.fixture
def serving(folder):
    server = Serving()
    server.network = AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)
    server.strings = AutoTokenizer.from_pretrained(folder).decode
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_teaches_and_is_asked_once(decant, tmp_path, serving, monkeypatch) -> None:
    monkeypatch.setenv("DECANT_TEACHER_KEY", "secret")
    teacher = f"http://127.0.0.1:{serving.server_address[1]}/v1:model=toy:top=5"
    words = ["hinton:temperature=1", "--cache", str(tmp_path / "said"), "--steps", "10"]
    done = decant(*words, teacher=teacher)
    assert done.exit_code == 0, done.output
    assert set(serving.headers) == {"Bearer secret"}
    assert {question["model"] for question in serving.questions} == {"toy"}
    texts = {tuple(question["prompt"]) for question in serving.questions}
    assert len(texts) == 20, "those that only measure included"
    assert len(serving.questions) < 25, "each once, but for a text that is in a batch twice"
    asked = len(serving.questions)
    assert "its 6 best tokens and the rest" in done.stdout
    done = decant(*words, teacher=teacher, out=tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert len(serving.questions) == asked
    assert weights(tmp_path / "again") == weights(tmp_path / "out")
    assert "secret" not in (tmp_path / "out" / "recipe.json").read_text()
    done = decant("distillspec", teacher=teacher, out=tmp_path / "own")
    assert done.exit_code == 0, done.output
    assert list((tmp_path / "own" / "training" / "server").iterdir()), "its answers are kept beside the run"


def test_a_server_with_another_tokenizer_is_refused(decant, serving, stranger_folder) -> None:
    serving.strings = AutoTokenizer.from_pretrained(stranger_folder).decode
    teacher = f"http://127.0.0.1:{serving.server_address[1]}/v1:model=toy"
    assert "has another tokenizer (for text" in said(decant("hinton:temperature=1", teacher=teacher))


def test_adapters_alone_are_taught_and_merged(decant, tmp_path, draft_folder) -> None:
    pytest.importorskip("peft")
    for name in ("one", "two"):
        done = decant("gkd", "--lora", "2", out=tmp_path / name)
        assert done.exit_code == 0, done.output
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    there, before = (AutoModelForCausalLM.from_pretrained(where) for where in (tmp_path / "one", draft_folder))
    old = before.state_dict()
    assert there.state_dict().keys() == old.keys(), "no adapter is left in the folder"
    changed = {name for name, weight in there.state_dict().items() if not torch.equal(weight, old[name])}
    assert changed
    assert all("proj" in name for name in changed)
    kept = torch.load(tmp_path / "one" / "training" / "checkpoint.pt", weights_only=True)["model"]
    assert all("lora" in name for name in kept)


@pytest.mark.slow
def test_workers_of_ray_teach_and_write(decant, tmp_path) -> None:
    pytest.importorskip("ray")
    for name, more in (("here", []), ("there", ["--ray", "auto", "--workers", "2"])):
        done = decant("gkd:lmbda=1", *more, out=tmp_path / name)
        assert done.exit_code == 0, done.output
    one, two = (Trainee.open(str(tmp_path / name)).network for name in ("here", "there"))
    for pair in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(*pair, atol=5e-3, rtol=0)
    laws = str(tmp_path / "laws")
    assert "--ray spreads models" in said(decant("taid", "--ray", "auto", "--cache", laws, out=tmp_path / "not"))


@pytest.mark.slow
def test_two_processes_teach_one_student(asked, tmp_path) -> None:
    runs = (
        ("hinton", ["--minutes", "0.02"]),
        ("hinton:temperature=1", ["--cache", str(tmp_path / "laws")]),
        ("gkd:lmbda=1", ["--lora", "2"] if find_spec("peft") else []),
        ("adaspec", []),
    )
    for number, (recipe, more) in enumerate(runs):
        words = asked(recipe, *more, out=tmp_path / str(number))
        started = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = subprocess.run(
            [*started, "-m", "decant", *words], env=PLACE, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("folder") == 1, "the first process alone speaks"
        assert done.stderr.count("teaching") == 1
        assert (tmp_path / str(number) / "model.safetensors").exists()
    done = CliRunner().invoke(app, asked("gkd:lmbda=1", "--lora", "2", out=tmp_path / "alone"))
    assert done.exit_code == 0, done.output
    one, two = (Trainee.open(str(tmp_path / name)).network for name in ("2", "alone"))
    for pair in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(*pair, atol=1e-3, rtol=0)
