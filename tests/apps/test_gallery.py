"""What the suite of images reports: equal labels, means over seeds, and who could not run."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decant.apps.gallery import Show, Suite, judge_of, run, strip_of, suited
from decant.apps.painting import painter
from decant.bench.images import Seen, frechet_distance, scores
from decant.errors import BadInput, IncompatibleParts
from decant.models.images import judge as judges
from decant.models.images import jump as jumps
from decant.models.images.folder import ImageModel, read_images
from decant.models.images.judge import Judge
from decant.noise import sample_seed
from tests.images import tiny

SUITE = Suite(each=4, repeat=2, seed=3, batch=5)


@pytest.fixture(scope="module")
def model(pictures_folder: Path) -> ImageModel:
    return read_images(str(pictures_folder))


@pytest.fixture(scope="module")
def judge(model: ImageModel) -> Judge:
    return judge_of(model)


@pytest.fixture(scope="module")
def report(model: ImageModel, judge: Judge) -> dict:
    return run(Show(model, judge), "all", SUITE)


def test_rows_are_means_over_seeds_of_images_of_the_same_labels(report: dict, model: ImageModel, judge: Judge) -> None:
    row = next(row for row in report["methods"] if row["name"] == "one-step-baseline")
    labels = [0, 1, 2] * SUITE.each
    real = Seen(*judge.net.look(judge.images_NYX))
    found = []
    for repeat in range(SUITE.repeat):
        painted = painter("one-step-baseline", model).paint(labels, sample_seed(SUITE.seed, repeat))
        found.append(scores(Seen(*judge.net.look(painted.images_NYX)), torch.tensor(labels), real))
    distances = [one["frechet_distance"] for one in found]
    assert row["frechet_distance"] == pytest.approx(sum(distances) / 2, rel=1e-5)
    assert row["spread"]["frechet_distance"] == pytest.approx([min(distances), max(distances)], rel=1e-5)
    assert row["class_accuracy"] == pytest.approx(sum(one["class_accuracy"] for one in found) / 2)
    assert distances[0] != distances[1]
    assert (row["images"], row["repeats"], row["forwards"], row["exact"]) == (12, 2, 1, False)


def test_all_names_who_ran_and_who_could_not(report: dict, model: ImageModel) -> None:
    ran = [row["name"] for row in report["methods"]]
    assert ran == ["plain", "sjd", "one-step-baseline", "truncated-teacher"]
    skipped = {one["method"]: one["reason"] for one in report["skipped"]}
    assert {*ran, *skipped} == {"plain", *suited(model)}
    assert "needs a student" in skipped["dd1-1"]
    assert "needs a student" in skipped["dd2-1"]
    promises = {row["name"]: row["promise"] for row in report["methods"]}
    assert promises == {"plain": "tokens", "sjd": "distribution", "one-step-baseline": None, "truncated-teacher": None}
    forwards = {row["name"]: row["forwards"] for row in report["methods"]}
    assert (forwards["plain"], forwards["truncated-teacher"]) == (16, 3)
    assert 1 <= forwards["sjd"] <= 16


def test_a_method_that_was_named_is_refused_not_skipped(model: ImageModel, judge: Judge) -> None:
    with pytest.raises(BadInput, match="dd1-1 needs a student"):
        run(Show(model, judge), ["dd1-1"], SUITE)
    with pytest.raises(IncompatibleParts, match="for models that fill in masks"):
        run(Show(model, judge), ["threshold"], SUITE)


def test_the_report_is_json_and_holds_a_picture_a_method(report: dict) -> None:
    said = json.loads(json.dumps(report))
    assert [one["method"] for one in said["images"]] == ["real images", *(row["name"] for row in said["methods"])]
    for one in said["images"]:
        assert base64.b64decode(one["png_base64"]).startswith(b"\x89PNG")
        assert (one["frechet_distance"] is None) == (one["method"] == "real images")
    assert all("strip" not in row for row in said["methods"])


def test_the_floor_is_of_two_halves_of_every_class(report: dict, judge: Judge) -> None:
    """The first, third ... image of each class against the others."""
    real_ND, _ = judge.net.look(judge.images_NYX)
    even_N = torch.arange(120) // 3 % 2 == 0
    assert report["floors"]["real_halves"] == pytest.approx(frechet_distance(real_ND[even_N], real_ND[~even_N]))
    assert (report["floors"]["real_halves_images"], report["floors"]["reference_images"]) == (60, 120)


def test_a_student_that_is_given_serves_methods_of_its_kind(judge: Judge, tmp_path: Path) -> None:
    made = tiny.model(tmp_path / "teacher")
    jumps.save(tiny.student(tiny.RASTER, codes_VC=made.tokenizer.codes_VC), tmp_path / "student")
    here = Show(replace(made, kind="scales"), judge, student=str(tmp_path / "student"))  # so that no text is decoded
    painters, _ = here.painters(["dd1-1", "next-scale"])
    assert [one.method.name for one in painters] == ["plain", "dd1-1"]
    _, skipped = here.painters("all")
    reasons = {one["method"]: one["reason"] for one in skipped}
    assert "dd1-2" not in reasons
    assert "needs a student" in reasons["dd2-1"]


def test_a_judge_of_other_classes_is_refused(model: ImageModel, judge: Judge, tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    (tmp_path / "teacher" / "decant.json").write_text(json.dumps({"heads": {"judge": "../other"}}))
    net = judges.untrained(replace(judge.net.spec, classes=("a", "b", "z")))
    judges.save(replace(judge, net=net), tmp_path / "other")
    there = replace(model, name=str(tmp_path / "teacher"))
    with pytest.raises(BadInput, match="knows other classes"):
        judge_of(there)
    with pytest.raises(BadInput, match="names no judge"):
        judge_of(replace(model, name=str(tmp_path)))


def test_images_are_shown_large_enough() -> None:
    header = strip_of(torch.zeros(4, 8, 8), 2)[16:24]
    assert [int.from_bytes(part) for part in (header[:4], header[4:])] == [2 * 49 + 1, 2 * 49 + 1]
