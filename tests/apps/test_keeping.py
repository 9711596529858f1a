"""What is learnt is kept now and then, on another thread, and at the end; and what cannot be kept stops nothing."""

import logging
import threading
from pathlib import Path

import pytest
import torch

from decant.apps import keeping
from decant.apps.keeping import Keeping
from decant.apps.store import DraftStore
from decant.drafters.aded import Aded, AdedState, Trigrams


def taught(*tokens: int) -> tuple[Aded, AdedState]:
    return Aded(), AdedState(torch.zeros(1, 1), Trigrams().taught([tokens], 99))


@pytest.fixture
def writers(monkeypatch) -> list[str]:
    """Names of the threads that saved."""
    found: list[str] = []
    save = DraftStore.save

    def noted(*words: object) -> bool:
        found.append(threading.current_thread().name)
        return save(*words)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(DraftStore, "save", noted)
    return found


def test_news_are_kept_now_and_then_beside_the_work(tmp_path: Path, target, monkeypatch, writers) -> None:
    store = DraftStore(tmp_path / "kept")
    keeping_it, first, second = Keeping(store, target), taught(1, 2, 3), taught(1, 2, 3, 4)
    keeping_it.look(first)
    assert writers == [], "it is not time yet"
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    for learnt in (None, first, first, second, second):
        keeping_it.look(learnt)
        if keeping_it._saving is not None:
            keeping_it._saving.join()
    assert writers == ["decant-draft-store"] * 2, "each once"
    assert (store.restored(Aded(), target).learnt or Trigrams()).old.keys() == {(1, 2), (2, 3)}


def test_the_end_keeps_what_is_new_and_waits_for_the_other_thread(tmp_path: Path, target, monkeypatch, writers) -> None:
    store = DraftStore(tmp_path / "kept")
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    keeping_it, first, second = Keeping(store, target), taught(1, 2, 3), taught(1, 2, 3, 4)
    keeping_it.look(first)
    keeping_it.close(first)
    assert writers == ["decant-draft-store"], "it is kept already"
    keeping_it.close(second)
    assert writers[1:] == [threading.current_thread().name]
    assert (store.restored(Aded(), target).learnt or Trigrams()).old.keys() == {(1, 2), (2, 3)}


def test_what_fails_is_said_and_tried_again(tmp_path: Path, target, monkeypatch, caplog) -> None:
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    store = DraftStore(tmp_path / "kept")
    keeping_it, learnt = Keeping(store, target), taught(1, 2, 3)
    store.folder.write_text("a file since")
    with caplog.at_level(logging.WARNING, logger="decant"):
        keeping_it.look(learnt)
        keeping_it.close(learnt)
    assert caplog.text.count("what was learnt is not kept") == 2
    store.folder.unlink()
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, logger="decant"):
        patch.setattr(Aded, "stored", lambda self, state, room: 1 // 0)
        keeping_it.close(learnt)
    assert "ZeroDivisionError" in caplog.text
    keeping_it.close(learnt)
    assert store.restored(Aded(), target).learnt is not None


def test_without_a_store_nothing_is_kept(target, monkeypatch, writers) -> None:
    monkeypatch.setattr(keeping, "EVERY", -1.0)
    nowhere = Keeping(None, target)
    nowhere.look(taught(1, 2, 3))
    nowhere.close(taught(1, 2, 3))
    assert writers == []
