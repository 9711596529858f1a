"""A teacher's answers beforehand: with a small student as its draft it writes what it writes alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from decant.apps import work
from decant.apps.teaching import Asked
from decant.apps.work import Work, answered
from decant.distill.texts import Text
from tests.apps.cli.students import sums


def tell(done: int, total: int, text: str) -> None:
    """To nobody."""


@pytest.fixture
def asked(folder, draft_folder, tmp_path) -> Asked:
    data = str(sums(tmp_path / "data.jsonl"))
    parts: dict[str, Any] = {"student": str(draft_folder), "max_tokens": 12, "device": "cpu", "quiet": True}
    return Asked("seqkd", str(folder), data, tmp_path / "out", **parts)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_draft_changes_nothing_that_is_written(temperature, asked, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(work, "teacher_samples", lambda answers, ends: answers)  # those cut short as well
    drafted: list[str] = []
    made = work.compose
    monkeypatch.setattr(work, "compose", lambda spec, *parts: drafted.append(spec) or made(spec, *parts))
    prompts = [[3, 4, 5], [6, 7], [8, 9, 10, 11], [5, 3]]

    def written(name: str, drafts: bool) -> list[Text]:
        return answered(replace(asked, out=tmp_path / name), prompts, temperature, tell, drafts)

    alone = written("alone", drafts=False)
    assert not drafted
    assert written("guessed", drafts=True) == alone
    assert drafted == ["draft-model"]


def test_a_student_guesses_where_it_is_smaller_by_half_and_spells_alike(asked, folder, stranger_folder) -> None:
    assert work._drafts(Work.open(asked, tell, dry=True).kit)
    itself = Work.open(replace(asked, student=str(folder)), tell, dry=True).kit
    assert not work._drafts(itself), "guesses as dear as what they save"
    strange = replace(asked, recipe="alm_transfer", teacher=str(stranger_folder))
    assert not work._drafts(Work.open(strange, tell, dry=True).kit)
