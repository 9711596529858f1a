"""`decant generate` and `decant bench --suite images` of a model of images."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from decant.apps.cli import app
from decant.apps.painting import Palette, painter
from decant.models.images.folder import read_images


def said(verb: str, model: Path | str, *words: str):
    return CliRunner().invoke(app, [verb, str(model), *words])


def test_labels_become_a_picture_and_codes(pictures_folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "grid.png"
    words = ("--label", "b", "--label", "c", "--n", "6", "--seed", "4", "--temperature", "2", "--guidance", "1")
    done = said("generate", pictures_folder, *words, "--out", str(picture), "--json", "-")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert [one["label"] for one in report["images"]] == ["b", "c"] * 3
    drawn = painter("plain", read_images(str(pictures_folder)), Palette(temperature=2, guidance=1)).paint([1, 2] * 3, 4)
    assert [one["codes"] for one in report["images"]] == drawn.ids_NL.tolist()
    assert (report["settings"]["guidance"], report["settings"]["top_k"], report["forwards"]) == (1.0, 5, 16.0)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "6 images in" in done.stderr
    assert "16 forwards each; plain: the teacher's own images of this seed" in done.stderr


def test_without_labels_all_classes_take_turns(pictures_folder: Path) -> None:
    done = said("generate", pictures_folder, "--n", "4", "--method", "one-step-baseline", "--json", "-", "--quiet")
    report = json.loads(done.stdout)
    assert [one["label"] for one in report["images"]] == ["a", "b", "c", "a"]
    assert (report["forwards"], report["promise"], done.stderr) == (1.0, None, "")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--label", "7", "--json", "-"), "knows no class '7'; it knows a, b, c"),
        (("--label", "a"), "images need a place: give --out FILE.png"),
        (("--label", "a", "--out", "grid.jpg"), "grid.jpg is no PNG file; give a name that ends in .png"),
        (("--label", "a", "--out", "nowhere/grid.png"), "there is no folder nowhere"),
        (("--label", "a", "--max-tokens", "3", "--json", "-"), "--max-tokens: of texts, and"),
        (("a text", "--json", "-"), "PROMPT: of texts, and"),
        (("--label", "a", "--min-p", "0.1", "--json", "-"), "--min-p: of texts, and"),
        (("--label", "a", "--top-p", "7", "--json", "-"), "top_p lies in (0, 1], got 7"),
        (("--method", "dd1-1", "--json", "-"), "dd1-1 needs a student and"),
        (("--method", "dd1", "--json", "-"), "no method is called 'dd1'; did you mean dd"),
        (("--method", "one-step-baseline", "--top-k", "2", "--json", "-"), "whatever --top-k says; leave it out"),
    ],
)
def test_what_cannot_be_is_answered_in_a_sentence(pictures_folder: Path, words: tuple[str, ...], sentence: str) -> None:
    done = said("generate", pictures_folder, *words)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())
    assert "Traceback" not in done.output


def test_labels_of_a_model_of_texts_are_refused(folder: Path) -> None:
    done = said("generate", folder, "--label", "7", "--n", "3")
    assert done.exit_code == 2
    assert f"--label, --n: of images, and {folder} writes texts; take house:digits-ar" in " ".join(done.output.split())


def test_the_suite_is_a_table_a_picture_and_a_page(pictures_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra [plot] is not installed")
    words = ("--methods", "plain,one-step-baseline,truncated-teacher:units=3", "--limit", "3", "--repeat", "2")
    files = {name: tmp_path / f"found.{name}" for name in ("json", "html", "svg")}
    done = said(
        "bench", pictures_folder, "--suite", "images", *words,
        "--json", str(files["json"]), "--html", str(files["html"]), "--plot", str(files["svg"]),
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    report = json.loads(files["json"].read_text())
    assert [row["name"] for row in report["methods"]] == ["plain", "one-step-baseline", "truncated-teacher:units=3"]
    assert all({"frechet_distance", "class_accuracy", "forwards"} <= set(row) for row in report["methods"])
    assert (report["settings"]["each"], report["settings"]["repeat"], report["model"]["places"]) == (3, 2, 16)
    assert "truncated-teacher:units=3         4" in done.stdout
    assert "the same images" in done.stdout
    page = files["html"].read_text()
    assert page.count("data:image/png;base64,") == 4
    assert "In one forward one-step-baseline comes nearest" in page
    assert "<svg" in files["svg"].read_text()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--max-tokens", "3"), "--max-tokens: of texts, and the suite images makes images; leave it out"),
        (("--methods", "threshold"), "threshold is for models that fill in masks"),
        (("--methods", "next-scal"), "no method is called 'next-scal'; did you mean next-scale"),
        (("--json", "nowhere/found.json"), "there is no folder nowhere"),
    ],
)
def test_a_suite_that_cannot_be_is_answered_in_a_sentence(
    pictures_folder: Path, words: tuple[str, ...], sentence: str
) -> None:
    done = said("bench", pictures_folder, "--suite", "images", *words)
    assert done.exit_code == 2
    assert sentence in " ".join(done.output.split())


def test_a_suite_for_a_model_of_texts_is_refused(folder: Path) -> None:
    done = said("bench", folder, "--suite", "images")
    assert done.exit_code == 2
    assert f"the suite images is for models of images, and {folder} is none" in " ".join(done.output.split())
