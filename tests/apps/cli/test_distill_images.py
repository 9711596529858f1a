"""`decant distill dd1`: from a teacher of images to a student that makes one in a pass or two."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.images.layout import Layout
from decant.models.heads.folder import kind_of
from decant.models.images.folder import read_tokenizer
from decant.models.images.jump import read
from tests.images.tiny import RASTER, SCALES, model


def distilled(teacher: Path, out: Path, *more: str, recipe: str = "dd1:pairs=40:flow=4"):
    words = ["distill", recipe, "--teacher", str(teacher), "--out", str(out), "--threads", "1"]
    return CliRunner().invoke(app, [*words, "--steps", "10", "--batch", "4", "--quiet", "--json", "-", *more])


@pytest.mark.parametrize(("layout", "head"), [(RASTER, "direct"), (SCALES, "flow")], ids=str)
def test_a_student_is_taught_and_read_back(layout: Layout, head: str, tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    model(teacher, layout, guidance=2.0)
    recipe = f"dd1:head={head}:pairs=40:flow=4"
    ran = distilled(teacher, out, recipe=recipe)
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert report["kind"] == "dd1"
    assert set(report["passes"]) == {"1", "2"}
    assert (report["pairs"], report["units"], report["states"]) == (38, layout.units, [0, 1])
    net = read(out)
    assert net.layout == layout
    assert bool(net.spec.flow) == (head == "flow")
    assert kind_of(out) == "dd1"
    assert read_tokenizer(out).layout == layout
    assert f"decant distill {recipe} --teacher {teacher} --out {out}" in (out / "README.md").read_text()
    assert json.loads((out / "recipe.json").read_text())["learnt"]["passes"] == report["passes"]
    pictures = [out / "samples.png", *sorted((out / "training" / "previews").iterdir())]
    assert len(pictures) == 11
    assert all(picture.read_bytes().startswith(b"\x89PNG") for picture in pictures)
    before = (out / "model.safetensors").read_bytes()
    again = distilled(teacher, out, recipe=recipe)  # a run that is finished goes on to the same end
    assert again.exit_code == 0, again.output
    assert (out / "model.safetensors").read_bytes() == before
    assert json.loads(again.stdout)["seconds"] >= report["seconds"], "the seconds of its teaching are not forgotten"
    other = distilled(teacher, out, "--seed", "1", recipe=recipe)
    assert "seed '0', not '1'" in " ".join(other.output.split())


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    ran = distilled(tmp_path / "teacher", tmp_path / "out", "--plan")
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout)
    assert (report["pairs"], report["steps"], report["states"]) == (40, 10, [0, 1])
    assert set(report["seconds"]) == {"trajectories", "a step", "training"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--data", "house:tasks"], "--data house:tasks is not for dd1: the teacher makes its own data"),
        (["--student", "house:draft"], "--student is not for dd1"),
        (["--minutes", "1"], "--minutes is not for dd1"),
        (["--lora", "2"], "--lora is not for dd1"),
        (["--temperature", "0.5"], "--temperature is not for dd1: the teacher draws as its decant.json says"),
    ],
    ids=lambda part: part if isinstance(part, str) else part[0],
)
def test_what_it_has_no_use_for_is_refused(more: list[str], sentence: str, tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    ran = distilled(tmp_path / "teacher", tmp_path / "out", *more)
    assert ran.exit_code == 2
    assert sentence in " ".join(ran.output.split())
    assert not (tmp_path / "out").exists()


def test_a_teacher_of_texts_is_refused(tmp_path: Path) -> None:
    ran = distilled(Path("house:draft"), tmp_path / "out")
    assert ran.exit_code == 2
    assert "house:draft is no image model" in " ".join(ran.output.split())


def test_a_knob_that_does_not_fit_the_teacher_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    ran = distilled(tmp_path / "teacher", tmp_path / "out", recipe="dd1:pairs=40:middle=4")
    assert ran.exit_code == 2
    assert "the middle of 4 units lies in 1 ... 3, got 4" in " ".join(ran.output.split())
