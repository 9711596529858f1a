"""What tests of `decant distill RECIPE --student` share: the command, with a tiny teacher, student and data."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import decant as package
from decant.apps.cli import app

FEW = ["--steps", "4", "--batch", "4", "--max-tokens", "12", "--lr", "0.02"]
PLACE = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def sums(file: Path, count: int = 20) -> Path:
    rows = [
        {"prompt": f"Take {at}, then add {at + 1}. ", "answer": f"The answer is {2 * at + 1}."} for at in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def asked(folder, draft_folder, tmp_path):
    """The words of a command; an option that is None is left out."""

    def words(recipe: str = "hinton", *more: str, **other: Any) -> list[str]:
        given = {"teacher": folder, "student": draft_folder, "data": tmp_path / "data.jsonl", "out": tmp_path / "out"}
        sums(tmp_path / "data.jsonl")
        options = [(f"--{name}", str(value)) for name, value in (given | other).items() if value is not None]
        return ["distill", *([recipe] if recipe else []), *[word for pair in options for word in pair], *FEW, *more]

    return words


@pytest.fixture
def decant(asked):
    return lambda *words, **other: CliRunner().invoke(app, asked(*words, **other))


def said(done) -> str:
    assert done.exit_code == 2, done.output
    return " ".join(done.stderr.replace("│", " ").split())


def weights(out: Path) -> bytes:
    return (out / "model.safetensors").read_bytes()
