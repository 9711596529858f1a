"""`decant distill RECIPE --student`: from a file of texts to a folder that plain transformers reads."""

import json
import signal
import subprocess
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.apps.teaching import Asked
from decant.models.trainee import Trainee
from tests.apps.cli.students import FEW, PLACE, asked, decant, said, weights

__all__ = ["asked", "decant"]  # fixtures


def test_a_student_is_taught_and_written_for_transformers(decant, tmp_path, folder, draft_folder) -> None:
    done = decant("hinton", "--set", "alpha=0.75", "--set", "temperature=1")
    assert done.exit_code == 0, done.output
    out = tmp_path / "out"
    assert {file.name for file in out.iterdir()} >= {"README.md", "config.json", "recipe.json", "tokenizer.json"}
    kept = json.loads((out / "recipe.json").read_text())
    assert kept["knobs"] == {"alpha": 0.75, "temperature": 1.0}
    assert kept["peak"] == 0.02
    assert set(kept["versions"]) == {"decant", "torch", "transformers", "python"}
    assert "git" in kept
    assert kept["command"].startswith(f"decant distill hinton:alpha=0.75:temperature=1 --teacher {folder} --data ")
    assert f"--student {draft_folder}" in kept["command"]
    assert kept["before"]["nats"] > kept["after"]["nats"] + 0.01, "on texts that it was not taught on"
    assert kept["before"] != kept["after"]
    card = (out / "README.md").read_text()
    assert kept["command"] in card
    assert f"| {kept['before']['kl']:.4f} | {kept['after']['kl']:.4f} |" in card

    there, before = (AutoModelForCausalLM.from_pretrained(where) for where in (out, draft_folder))
    assert all(not torch.equal(*pair) for pair in zip(there.parameters(), before.parameters(), strict=True))
    mine = Trainee.open(str(out))
    ids_BT = torch.tensor([AutoTokenizer.from_pretrained(out)("Take 1, then").input_ids])
    with torch.no_grad():
        assert torch.equal(there(ids_BT).logits, mine.network(ids_BT).logits)
    assert mine.speller.encode("Take 1, then") == ids_BT[0].tolist()
    done = CliRunner().invoke(app, ["generate", str(out), "Take 1", "--max-tokens", "4", "-q"])
    assert done.exit_code == 0, done.output


def test_what_all_recipes_have_is_set_as_their_own_knobs_are(asked, tmp_path) -> None:
    words = [word for word in asked() if word not in FEW]
    shared = ["steps=2", "batch=3", "lr=0.01", "seed=4", "alpha=0.75"]
    done = CliRunner().invoke(app, [*words, *[word for one in shared for word in ("--set", one)]])
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert [kept["asked"][name] for name in ("steps", "batch", "rate", "seed")] == ["2", "3", "0.01", "4"]
    assert kept["knobs"]["alpha"] == 0.75
    assert "--set batch=0: batch must be 1 or more" in said(CliRunner().invoke(app, [*words, "--set", "batch=0"]))


def test_the_flat_loop_learns_by_command_too(decant, tmp_path) -> None:
    done = decant("plain_kd", "--steps", "20")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert kept["before"]["kl"] > kept["after"]["kl"]
    assert kept["knobs"] == {"temperature": 2.0}
    metrics = tmp_path / "out" / "training" / "metrics.jsonl"
    assert "--resume is not for plain_kd: its loop" in said(decant("plain_kd", "--steps", "20", "--resume"))
    assert decant("plain_kd", "--steps", "20").exit_code == 0
    curve = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in curve] == [10, 20], "begun anew, not added to"
    assert curve[0]["nats"] > curve[1]["nats"]


def test_the_flat_loop_stops_at_what_is_not_finite(decant, tmp_path) -> None:
    assert "step 2 is not finite" in said(decant("plain_kd", "--lr", "1e30"))
    assert not (tmp_path / "out" / "model.safetensors").exists()
    bad = torch.load(tmp_path / "out" / "training" / "bad-batch.pt", weights_only=True)
    assert bad["step"] == 1
    assert [part.shape[0] for part in bad["pieces"][0]] == [4, 4]


def test_a_recipe_is_repeated_to_the_same_weights(decant, tmp_path) -> None:
    first = decant("gkd", "--set", "lmbda=1", "--json", "-", "--quiet")
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["steps"] == 4
    again = ["distill", "--recipe", str(tmp_path / "out" / "recipe.json"), "--out", str(tmp_path / "again")]
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "again") == weights(tmp_path / "out")
    one, two = (json.loads((tmp_path / name / "recipe.json").read_text()) for name in ("out", "again"))
    assert one["after"] == two["after"]
    assert one["asked"] == two["asked"]
    assert "leave --steps out" in said(CliRunner().invoke(app, [*again, "--steps", "3"]))
    assert "says of no run what it was asked" in said(CliRunner().invoke(app, [*again[:2], "nowhere.json", *again[3:]]))
    other = decant("gkd", "--set", "lmbda=1", "--seed", "1", out=tmp_path / "other")
    assert other.exit_code == 0, other.output
    assert weights(tmp_path / "other") != weights(tmp_path / "out"), "nothing is repeated by chance"


def test_a_killed_run_goes_on_to_the_same_bytes(asked, tmp_path) -> None:
    words = asked("hinton", "--steps", "70", "-q", "--threads", "1", out=tmp_path / "killed")
    process = subprocess.Popen([sys.executable, "-m", "decant", *words], env=PLACE, stderr=subprocess.PIPE)
    checkpoint = tmp_path / "killed" / "training" / "checkpoint.pt"
    while not checkpoint.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read().decode()
    done_then = torch.load(checkpoint, weights_only=True)["step"]
    assert 0 < done_then < 70
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    for where, more in (("killed", ["--resume"]), ("whole", [])):
        done = CliRunner().invoke(app, asked("hinton", "--steps", "70", "-q", *more, out=tmp_path / where))
        assert done.exit_code == 0, done.output
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    kept = [json.loads((tmp_path / name / "recipe.json").read_text()) for name in ("killed", "whole")]
    assert kept[0]["before"] == kept[1]["before"], "what was measured before is not measured again"
    assert kept[0]["after"] == kept[1]["after"]


def test_a_plan_writes_nothing(decant, tmp_path) -> None:
    done = decant("distillspec", "--plan", "--minutes", "1")
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "out").exists()
    lines = {line.split("  ")[0]: line for line in done.stdout.splitlines()}
    assert list(lines)[1:] == ["knobs", "data", "beforehand", "steps", "memory", "time"]
    assert "18 texts, 18 prompts" in lines["data"]
    assert "peak learning rate 0.02" in lines["steps"]
    assert "GiB: student, gradients and AdamW" in lines["memory"]
    assert "s a step (measured on 2)" in lines["time"]
    done = decant("seqkd", "--plan", "--json", "-", "--quiet")
    report = json.loads(done.stdout)
    assert report["beforehand"] == ["the teacher writes 18 answers of at most 12 tokens, not timed here"]
    assert report["steps"] == 4
    assert report["bytes"]["teacher"] > 0
    assert "--plan tells of recipes that teach a whole student" in said(decant("eagle", "--plan", student=None))


def test_what_the_user_can_mend_is_a_sentence(decant, tmp_path, stranger_folder, folder) -> None:
    out = tmp_path / "out"
    for words, other, sentence in (
        (
            ["hinton"],
            {"teacher": stranger_folder},
            "differ, and hinton compares token by token; take a student",
        ),
        (["hinton"], {"teacher": stranger_folder}, "or the recipe alm_transfer"),
        (["hinton"], {"student": None}, "hinton teaches a student; name one with --student"),
        (["hinton"], {"teacher": None}, "distill needs a recipe, --teacher and --data; or --recipe RUN/recipe.json"),
        (["hinton", "--set", "steps=2"], {}, "--set steps=2 and --steps say the same; leave one out"),
        (["hinton", "--set", "seed=one"], {}, "--set seed=one: seed is a number; got 'one'"),
        (["hinton", "--set", "alfa=1"], {}, "hinton has no knob 'alfa'; did you mean alpha or"),
        (["hinton", "--resume"], {}, "holds no run to go on from; leave --resume out"),
        (["eagle", "--resume"], {"student": None}, "holds no run to go on from; leave --resume out"),
        (["hinton", "--temperature", "1"], {}, "--temperature is not for hinton"),
        (["eagle", "--lora", "4"], {"student": None}, "--lora is not for eagle: it teaches no whole student"),
        (["eagle", "--cache", "laws"], {"student": None, "teacher": None}, "--cache is not for eagle"),
        (["aligndistil"], {}, "contrast=DIR"),
        (
            ["aligndistil", "--set", f"contrast={stranger_folder}"],
            {},
            f"the tokenizers of contrast={stranger_folder} and of the student differ, and aligndistil compares token",
        ),
        (["hinton"], {"teacher": f"{folder}*2+{folder}"}, "several are A+B, or A*0.7+B*0.3"),
        (["hinton"], {"teacher": f"{folder}:top=2"}, "has no knobs, but 'top' was set"),
        (
            ["minilm"],
            {"teacher": f"{folder}+{folder}"},
            "AttentionRelations needs states of a teacher, and Several",
        ),
        (["seqkd"], {"teacher": f"{folder}+{folder}"}, "this recipe needs the teacher itself, one model in memory"),
        (["hinton"], {"teacher": "http://127.0.0.1:9/v1"}, "which model? write http://127.0.0.1:9/v1:model=NAME"),
    ):
        assert sentence in said(decant(*words, **other)), sentence
        assert not out.exists(), "nothing is written before it is refused"
    (tmp_path / "broken.jsonl").write_text('{"prompt": "Take 1", "answer": "1"}\n\n{"prompt": }\n')
    assert "broken.jsonl line 3 is not JSON" in said(decant(data=tmp_path / "broken.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    assert "empty.jsonl holds no texts" in said(decant(data=tmp_path / "empty.jsonl"))
    assert "step 2 is not finite" in said(decant("hinton", "--lr", "1e30"))
    assert not (out / "model.safetensors").exists()
    assert "holds a run with rate" in said(decant("hinton", "--lr", "0.001"))


def test_prompts_alone_are_enough_where_a_model_answers(decant, tmp_path) -> None:
    (tmp_path / "asked.txt").write_text("")
    rows = [json.dumps({"prompt": f"Take {at}"}) for at in range(6)]
    (tmp_path / "asked.jsonl").write_text("\n".join(rows))
    assert "the data holds prompts alone; give answers" in said(decant("hinton", data=tmp_path / "asked.jsonl"))
    done = decant("distillspec", data=tmp_path / "asked.jsonl")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert kept["before"] is kept["after"] is None, "there is no text to measure on"
    assert "Measured" not in (tmp_path / "out" / "README.md").read_text()


def test_one_text_alone_is_taught_and_measures_nothing(decant, tmp_path) -> None:
    (tmp_path / "one.jsonl").write_text('{"prompt": "Take 1", "answer": "2"}\n')
    done = decant("hinton", data=tmp_path / "one.jsonl")
    assert done.exit_code == 0, done.output
    kept = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert kept["before"] is kept["after"] is None
    assert "nothing: no text is held out" in done.stdout
    assert "Measured" not in (tmp_path / "out" / "README.md").read_text()


def test_the_command_says_what_was_asked(tmp_path) -> None:
    asked = Asked("taid", "", "data.jsonl", tmp_path, "house:draft", cache="laws", lora=8, ray="auto", resume=True)
    said = (
        f"decant distill taid --data data.jsonl --out {tmp_path} --student house:draft --cache laws --lora 8 --ray auto"
    )
    assert asked.command() == said
    assert set(asked.origin()["asked"]) >= {"cache", "lora"}
    assert not {"ray", "workers", "resume"} & set(asked.origin()["asked"]), "a run goes on elsewhere"
    plain = Asked("taid", "A", "data.jsonl", tmp_path)
    assert not {"cache", "lora", "micro"} & set(plain.origin()["asked"]), "runs that are older go on"
