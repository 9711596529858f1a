import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.models.fast.int8 import multiplies

rounds = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def decant(folder, out):
    return lambda *words: CliRunner().invoke(app, ["export", str(folder), "--out", str(out), *words])


@rounds
def test_the_folder_says_the_same_text_in_eight_bits(decant, folder, out):
    done = decant("--to", "int8")
    assert done.exit_code == 0, done.output
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["folder", "cost"]
    assert "% the same likeliest token (KL on" in done.stdout
    asked = ["Take 3, then add 4.", "--max-tokens", "24", "--temperature", "1", "--quiet"]
    said = [
        CliRunner().invoke(app, ["generate", str(model), *asked, *more])
        for model, *more in ((out,), (folder, "--weights", "int8"), (folder, "--exact", "off"))
    ]
    assert said[0].exit_code == 0, said[0].output
    assert said[0].stdout == said[1].stdout


@rounds
def test_the_folder_is_whole(decant, folder, out):
    assert decant("--weights", "int8", "--quiet").stderr == ""
    names = {file.name for file in out.iterdir()}
    assert {"README.md", "config.json", "decant.json", "model.safetensors", "tokenizer.json"} <= names
    kept = json.loads((out / "decant.json").read_text())
    assert kept["draft"] == str(folder / "../draft")
    assert kept["export"] == {"of": str(folder), "revision": None, "weights": "int8"}
    card = (out / "README.md").read_text()
    assert f"| KL(original, this) | {kept['cost']['nats']:.4f} nats a token |" in card
    assert f"decant generate {out}" in card


@rounds
def test_json_on_standard_output_stands_alone(decant, out):
    report = json.loads(decant("--weights", "int8", "--json", "-").stdout)
    assert report["out"] == str(out)
    assert 0 <= report["cost"]["nats"] < 0.1
    assert report["machine"]["torch"]


def test_what_the_user_can_mend_is_a_sentence(decant, out):
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    done = decant()
    assert done.exit_code == 2
    assert "is not empty, and not an export of the same model; give a new folder" in done.stderr
    assert [file.name for file in out.iterdir()] == ["mine.txt"]
    assert decant("--weights", "int4").exit_code == 2
    assert decant("--to", "int8", "--weights", "int8").exit_code == 2


def test_plain_transformers_is_what_is_written_by_default(decant, out):
    done = decant("--json", "-", "--quiet")
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["exports"] == [{name: report[name] for name in ("to", "out", "export", "files")}]
    assert report["to"] == "transformers"
    assert {file["path"] for file in report["files"]} >= {"README.md", "config.json", "model.safetensors"}
    assert sum(file["bytes"] for file in report["files"]) == sum(file.stat().st_size for file in out.iterdir())


def test_an_engine_s_folder_has_its_draft_and_its_command(decant, out):
    done = decant("--to", "vllm", "--method", "draft-model:depth=3")
    assert done.exit_code == 0, done.output
    assert 'launch.sh runs vllm serve target --speculative-config "$(cat speculative.json)"' in " ".join(
        done.stdout.split()
    )
    assert json.loads((out / "speculative.json").read_text()) == {
        "method": "draft_model",
        "num_speculative_tokens": 3,
        "model": "draft",
    }
    assert (out / "draft" / "model.safetensors").is_file()
    kept = json.loads((out / "decant.json").read_text())["export"]
    assert (kept["to"], kept["method"]) == ("vllm", "draft-model:depth=3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--to", "onnx"],
            "--to 'onnx' names no format 'onnx'; take transformers, int8, gguf, vllm, sglang, llama.cpp",
        ),
        (["--to", "sglang", "--method", "medusa"], "SGLang has nothing that drafts as medusa does"),
        (["--to", "vllm", "--method", "medusa"], "names no medusa head; give its folder with --draft"),
        (["--to", "vllm", "--method", "bogus"], "no method is called 'bogus'"),
        (["--plan", "nowhere"], "there is no plan at nowhere"),
        (["--certificate", "nowhere.json"], "--certificate nowhere.json cannot be read"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence_and_leaves_nothing(words, said, decant, out):
    done = decant(*words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not out.exists()
