"""Prompts that the project does not ship: found where DECANT_DATA says, refused with a sentence elsewhere."""

import gzip
import json

import pytest

from decant.apps.outside import outside
from decant.errors import BadInput


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A folder with a few rows in the public formats."""
    for folder in ("gsm8k", "humaneval", "tinystories"):
        (tmp_path / folder).mkdir()
    rows = "".join(json.dumps({"question": f"What is {n} + 1?", "answer": str(n + 1)}) + "\n" for n in range(9))
    (tmp_path / "gsm8k" / "test.jsonl").write_text(rows)
    packed = gzip.compress(json.dumps({"prompt": "def f(x):\n", "task_id": "H/0"}).encode())
    (tmp_path / "humaneval" / "HumanEval.jsonl.gz").write_bytes(packed)
    stories = ["Once upon a time, " + "there was a cat. " * 20, "The end.", "One day, " + "it rained. " * 30]
    (tmp_path / "tinystories" / "val_b.txt").write_text("\n\n".join(stories))
    monkeypatch.setenv("DECANT_DATA", str(tmp_path))


def test_questions_are_asked_and_code_is_continued(shelf) -> None:
    assert all(prompt.messages[0]["content"].startswith("What is") for prompt in outside("gsm8k", 4))
    assert outside("humaneval", 4)[0].text == "def f(x):\n"


def test_the_same_seed_draws_the_same_prompts_and_another_draws_others(shelf) -> None:
    first = outside("gsm8k", 4)
    assert first == outside("gsm8k", 4)
    assert len({prompt.where for prompt in first}) == 4
    assert first != outside("gsm8k", 4, seed=1)


def test_a_story_is_cut_between_words_and_what_is_none_is_left_out(shelf) -> None:
    stories = outside("tinystories", 10)
    assert len(stories) == 2
    assert all(len(story.text) <= 160 and story.text[-1] != " " for story in stories)


def test_what_is_missing_is_a_sentence(shelf, monkeypatch) -> None:
    with pytest.raises(BadInput, match="spec_bench"):
        outside("spec-bench", 1)
    with pytest.raises(BadInput, match="no outside prompts are called 'mmlu'"):
        outside("mmlu", 1)
    monkeypatch.delenv("DECANT_DATA")
    with pytest.raises(BadInput, match="DECANT_DATA names; set it"):
        outside("gsm8k", 1)
