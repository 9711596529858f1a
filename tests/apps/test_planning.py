"""What `--plan` and `--minutes` count: every kind of step, a reference's steps, every network in memory."""

from types import SimpleNamespace
from typing import Any

import pytest

from decant.apps import work
from decant.apps.students import plan
from decant.apps.teaching import Asked
from decant.apps.work import TIMED, Work
from decant.distill.rollouts.dataset import Dataset
from tests.apps.cli.students import sums

GIVEN, OWN = 2.0, 8.0  # seconds of a step on texts, and of one on answers


@pytest.fixture
def asked(folder, draft_folder, tmp_path):
    data = str(sums(tmp_path / "data.jsonl"))

    def made(recipe: str, **other: Any) -> Asked:
        parts = {"student": str(draft_folder), "batch": 4, "max_tokens": 12, "device": "cpu", "quiet": True} | other
        return Asked(recipe, str(folder), data, tmp_path / "out", **parts)

    return made


@pytest.fixture
def paced(monkeypatch) -> None:
    """Steps that take what the test says."""
    clock = SimpleNamespace(now=0.0, perf_counter=lambda: clock.now)

    def ran(learner: Any, watched: Any, settings: Any, folder: Any) -> None:
        for _ in range(TIMED):
            clock.now += GIVEN if isinstance(watched.rollouts, Dataset) else OWN
            watched.tell()

    monkeypatch.setattr(work, "run", ran)
    monkeypatch.setattr(work, "time", clock)


def tell(done: int, total: int, text: str) -> None:
    """To nobody."""


@pytest.mark.parametrize(
    ("recipe", "seconds"),
    [
        ("hinton", GIVEN),
        ("gkd:lmbda=0.25", 0.75 * GIVEN + 0.25 * OWN),
        ("gkd:lmbda=0", GIVEN),
        ("gkd:lmbda=1", OWN),
        ("distillspec:own=0.5", 0.5 * GIVEN + 0.5 * OWN),
        ("adaspec", 1.5 * GIVEN),
        ("adaspec:reference=1", 2 * GIVEN),
    ],
)
def test_minutes_are_those_of_all_steps_that_are_made(recipe, seconds, asked, paced) -> None:
    opened = Work.open(asked(recipe, minutes=4.0), tell)
    assert opened.seconds_a_step() == pytest.approx(seconds)
    assert opened.steps() == int(240 / seconds)


def test_a_step_of_a_mixture_is_really_timed(asked) -> None:
    report = plan(asked("gkd"), tell).report
    assert report["seconds"]["a step"] > 0


def test_a_plan_counts_every_network(asked, draft_folder) -> None:
    plain = plan(asked("hinton"), tell).report["bytes"]
    assert set(plain) == {"student, gradients and AdamW", "teacher", "activations"}
    student = plain["student, gradients and AdamW"] // 4  # 4 of 16 bytes are weights
    reference = plan(asked("adaspec"), tell).report["bytes"]
    assert reference["other networks"] == student
    contrast = plan(asked(f"aligndistil:contrast={draft_folder}"), tell).report["bytes"]
    assert contrast["other networks"] == student
    spoken = plan(asked("distillspec"), tell).report["bytes"]
    mixed = plan(asked("minillm"), tell).report["bytes"]
    assert "other networks" not in mixed
    assert 0 < spoken["packed to write"] <= student
    assert mixed["packed to write"] > spoken["packed to write"], "the teacher's too"


def test_a_plan_says_what_it_leaves_out(asked) -> None:
    said = {name: plan(asked(name), tell).report["beforehand"] for name in ("hinton", "seqkd", "fastdraft", "adaspec")}
    assert said["hinton"] == []
    assert said["seqkd"] == ["the teacher writes 18 answers of at most 12 tokens, not timed here"]
    assert said["fastdraft"] == ["the teacher writes 54 answers of at most 12 tokens, not timed here"]
    assert said["adaspec"] == [
        "a copy of the student is taught with forward KL: the reference, for 0.5 of the steps; counted in all times"
    ]
