"""What the benchmarks of recipes reckon with: intervals over questions, equal minutes, texts to learn from."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.school import lessons
from benchmarks.school.clock import between
from benchmarks.school.lessons import Lesson, mixed
from benchmarks.school.marks import by_task, interval
from decant.house import tasks

HARD_Q = [0, 1] * 100
BETTER_Q = [1 if at < 10 else right for at, right in enumerate(HARD_Q)]


def test_an_interval_holds_the_mean_and_is_as_wide_as_chance() -> None:
    found = interval([HARD_Q])
    assert found["mean"] == 0.5
    # Two standard errors of a share of 200 questions: 1.96 * sqrt(0.25 / 200).
    assert found["high"] - found["low"] == pytest.approx(2 * 0.0693, abs=0.015)


def test_a_difference_is_taken_question_by_question() -> None:
    found = interval([BETTER_Q], [HARD_Q])
    assert found["mean"] == pytest.approx(0.025)
    # Unpaired it would be 0.2 wide, and hold 0.
    assert 0 < found["low"] < found["mean"] < found["high"] < 0.06


def test_seeds_are_averaged_before_questions_are_drawn() -> None:
    assert interval([[1, 0], [0, 1]]) == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_shares_of_tasks_are_those_of_their_questions() -> None:
    names = list(tasks.GENERATORS)
    found = by_task([1, 1, 1, 0, *[0] * 2 * (len(names) - 2)], 2)
    assert found == {name: {0: 1.0, 1: 0.5}.get(at, 0.0) for at, name in enumerate(names)}


def test_a_block_counts_as_the_median_between_the_ends_of_its_steps() -> None:
    assert between([5.0, 6.0, 8.0, 18.0]) == 2.0


def test_steps_fit_the_minutes_and_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, asked = SimpleNamespace(report={"seconds": {"a step": 0.75}}), []
    monkeypatch.setattr(lessons, "sketch", lambda lesson, told: asked.append(lesson) or plan)
    first, second = (Lesson("adaspec", "house:draft", tmp_path, 1, seed) for seed in (0, 1))
    assert lessons._steps(first) == lessons._steps(second) == 80
    assert len(asked) == lessons.LOOKS


def test_the_mixed_texts_are_questions_and_code_and_stay(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mixed.jsonl"
    assert mixed(file, 3) == str(file)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["domain"] for row in rows] == ["tasks"] * 3 + ["code"] * 3
    assert all(row["prompt"].strip() and row["answer"].strip() for row in rows[3:])
    before = file.read_bytes()
    mixed(file, 5)
    assert file.read_bytes() == before
