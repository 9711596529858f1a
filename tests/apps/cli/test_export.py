import json

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.models.fast.int8 import multiplies

pytestmark = pytest.mark.skipif(not multiplies(), reason="this machine does not multiply eight-bit numbers")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def decant(folder, out):
    return lambda *words: CliRunner().invoke(app, ["export", str(folder), "--out", str(out), *words])


def test_the_folder_says_the_same_text_in_eight_bits(decant, folder, out):
    done = decant()
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


def test_the_folder_is_whole(decant, folder, out):
    assert decant("--quiet").stderr == ""
    names = {file.name for file in out.iterdir()}
    assert {"README.md", "config.json", "decant.json", "model.safetensors", "tokenizer.json"} <= names
    kept = json.loads((out / "decant.json").read_text())
    assert kept["draft"] == str(folder / "../draft")
    assert kept["export"] == {"of": str(folder), "revision": None, "weights": "int8"}
    card = (out / "README.md").read_text()
    assert f"| KL(original, this) | {kept['cost']['nats']:.4f} nats a token |" in card
    assert f"decant generate {out}" in card


def test_json_on_standard_output_stands_alone(decant, out):
    report = json.loads(decant("--json", "-").stdout)
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
