"""Distilled Decoding 2 learns: on a table of which everything is known, and from a teacher to a folder."""

import json
from pathlib import Path

import pytest
import torch

from decant.apps.teaching import Asked, run, sketch
from decant.distill.images.alternating import Pair, Schedule, alternate
from decant.distill.images.dd2 import DD2, Scoring, own_images
from decant.distill.images.scoring import PREVIEWS, TRAINING
from decant.distill.settings import Settings
from decant.errors import BadInput
from decant.models.images.velocity import read
from decant.testing.chi_square import assert_distributed_as
from tests.images.tiny import RASTER, SCALES, model
from tests.images.velocities import TABLE, TableNet, apart

BRIEF = DD2(head=0, tuning=60, images=1024, guidance=2, draws=2, alignment=0)


def learned(recipe: DD2, schedule: Schedule, folder: Path, batch: int, width: int) -> TableNet:
    """The running mean."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        nets = [TableNet(width) for _ in range(3)]
    pair = Pair(nets[0], nets[1], nets[2].requires_grad_(False))
    lesson = Scoring(pair, TABLE, recipe, *own_images(TABLE, recipe.images, 0), batch)
    settings = Settings(steps=schedule.turns, save_every=schedule.turns, quiet=True)
    alternate(pair, lesson, schedule, settings, folder)
    return nets[2]


def independent(label: int) -> float:
    """Total variation of the product of the table's marginals from its joint law: the best that blind places can do."""
    joint_VV = TABLE.joint(label)
    return float((joint_VV.sum(1, keepdim=True) * joint_VV.sum(0) - joint_VV).abs().sum() / 2)


def test_a_little_training_beats_independent_places(tmp_path: Path) -> None:
    """Two thirds of the way are asked for; 0.2 was reached where 0.5 and 0.45 are independent."""
    student = learned(BRIEF, BRIEF.schedule(60, 4e-3), tmp_path, batch=96, width=48)
    for label, distance in enumerate(apart(student, 4000)):
        assert distance < 0.67 * independent(label)


def test_what_it_begins_with_does_not(tmp_path: Path) -> None:
    """The planted failure: the teacher's velocities alone are no generator."""
    schedule = Schedule(BRIEF.schedule(1, 4e-3).phases[:1], 4e-3, 8e-3)
    student = learned(BRIEF, schedule, tmp_path, batch=96, width=48)
    assert max(apart(student, 4000)) > independent(0)


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "bound"), [("csd", 0.05), ("kl", 0.1)])
def test_one_pass_follows_the_joint_law(gap: str, bound: float, tmp_path: Path) -> None:
    """Measured: kl at 0.075, which costs less a turn and ends farther away."""
    recipe = DD2(head=0, tuning=150, images=4096, guidance=3, draws=4, alignment=100, gap=gap)
    student = learned(recipe, recipe.schedule(1500, 2e-3), tmp_path, batch=256, width=64)
    assert max(apart(student)) < bound


def test_own_images_have_the_teacher_s_law() -> None:
    """20,000 draws refuse a law that is off by a total variation of 0.03 all but always."""
    labels_N, ids_NL = own_images(TABLE, 40_000, 3)
    mine_N2 = ids_NL[labels_N == 1]
    assert_distributed_as(3 * mine_N2[:, 0] + mine_N2[:, 1], TABLE.joint(1).flatten(), "the teacher's own images")


def test_phases_are_as_asked() -> None:
    phases = DD2(head=5, tuning=7, guidance=4, alignment=3, aligned=0.25).schedule(40, 1e-3).phases
    assert [(one.name, one.turns, one.guidance, one.generator, one.begins) for one in phases] == [
        ("head", 5, 1, False, ""),
        ("tuning", 7, 1, False, ""),
        ("alternating", 30, 4, True, "anew"),
        ("alignment", 3, 1, False, "mean"),
        ("alternating", 10, 2, True, ""),
    ]
    assert [one.name for one in DD2(head=0, tuning=0, alignment=0).schedule(40, 1e-3).phases] == ["alternating"]


@pytest.mark.parametrize(
    "knobs", [{"guidance": 0}, {"aligned": 1.0}, {"tuning": -1}, {"gap": "hinge"}, {"weight": "x"}]
)
def test_knobs_out_of_range_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(BadInput, match=r"dd2 needs|csd or kl"):
        DD2(**knobs)  # type: ignore[arg-type]


def asked(folder: Path, teacher: Path, **changes: object) -> Asked:
    recipe = "dd2:head=2:tuning=3:guidance=2:images=16:alignment=2:width=16:depth=1"
    return Asked(recipe, str(teacher), "", folder, steps=5, batch=4, quiet=True, **changes)  # type: ignore[arg-type]


def told(done: int, total: int, text: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize("layout", [RASTER, SCALES], ids=str)
def test_from_a_teacher_to_a_folder(layout: object, tmp_path: Path) -> None:
    teacher, out = tmp_path / "teacher", tmp_path / "out"
    model(teacher, layout, guidance=1.5)  # type: ignore[arg-type]
    outcome = run(asked(out, teacher), told)
    student = read(out)
    assert student.layout == layout
    eps_BLC = torch.zeros(2, student.layout.places, 2)
    assert student.draw(torch.tensor([0, 1]), eps_BLC).isfinite().all()
    assert outcome.report["turns"] == 2 + 3 + 3 + 2 + 2
    said = json.loads((out / "recipe.json").read_text())
    assert said["learnt"]["off"] == outcome.report["off"]
    assert said["knobs"]["width"] == 16
    assert (out / "samples.png").read_bytes().startswith(b"\x89PNG")
    assert (out / TRAINING / PREVIEWS / "0000012.png").exists()
    card = (out / "README.md").read_text()
    assert "decant distill dd2" in card
    assert "dd2-1" in card
    weights = student.state_dict()
    run(asked(out, teacher), told)
    assert all(torch.equal(weights[name], value) for name, value in read(out).state_dict().items())


def test_another_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    run(asked(tmp_path / "out", tmp_path / "teacher"), told)
    with pytest.raises(BadInput, match="seed"):
        run(asked(tmp_path / "out", tmp_path / "teacher", seed=1), told)


def test_a_plan_writes_nothing(tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    outcome = sketch(asked(tmp_path / "out", tmp_path / "teacher"), told)
    assert outcome.report["seconds"]["training"] > 0
    assert [phase["name"] for phase in outcome.report["phases"]][-2:] == ["alignment", "alternating"]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"texts": "x.jsonl"}, "makes its own data"), ({"student": "x"}, "--student"), ({"minutes": 2.0}, "--minutes")],
)
def test_what_means_nothing_is_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    model(tmp_path / "teacher")
    given = {"texts": ""} | changes
    with pytest.raises(BadInput, match=message):
        run(Asked("dd2", str(tmp_path / "teacher"), out=tmp_path / "out", **given), told)  # type: ignore[arg-type]
