import logging
import os
import re
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decant.apps import store
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.session import open_session
from decant.apps.store import DraftStore, fingerprint
from decant.drafters.aded import Aded
from decant.drafters.fused import Fused
from decant.drafters.prompt_lookup import PromptLookup
from decant.drafters.suffix import Suffix
from decant.drafters.token_recycling import Followers, RecyclingState, TokenRecycling
from decant.errors import BadInput
from decant.protocols import Stored
from decant.types import PAD

PROMPT = torch.tensor([[5, 6, 7, 8, 5, 6, 7, 9]])


@contextmanager
def warned(caplog, pattern):
    """A line in the log that says so."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="decant"):
        yield
    assert re.search(pattern, caplog.text), caplog.text or "nothing was said"


def taught(drafter, target):
    _, prefill = target.model.start(PROMPT, drafter.taps)
    return drafter.start(PROMPT, prefill)


@pytest.fixture
def kept(tmp_path: Path) -> DraftStore:
    return DraftStore(tmp_path / "store")


def file_of(kept: DraftStore) -> Path:
    (file,) = kept.folder.iterdir()
    return file


@pytest.mark.parametrize("drafter", [TokenRecycling(), Aded()], ids=["token-recycling", "aded"])
def test_what_was_learnt_outlives_the_run(drafter, kept: DraftStore, target) -> None:
    assert isinstance(drafter, Stored)
    state = taught(drafter, target)
    assert kept.restored(drafter, target) is drafter
    kept.save(drafter, state, target)
    back = kept.restored(drafter, target)
    assert back.learnt is not None
    _, prefill = target.model.start(PROMPT[:, :1])
    again, first = back.stored(back.start(PROMPT[:, :1], prefill), 1 << 20), drafter.stored(state, 1 << 20)
    assert all(torch.equal(again[name], part) for name, part in first.items())
    assert sum(part.numel() for part in first.values()) > 10


def test_outputs_outlive_the_run(kept: DraftStore, target) -> None:
    drafter = Suffix()
    state = taught(drafter, target)
    known, _ = state.all.told([1, 2, 3])
    kept.save(drafter, replace(state, all=known), target)
    assert kept.restored(drafter, target).learnt.tail(2, 9) == [3, 2, 1]


def test_what_a_retriever_inside_another_drafter_learns_outlives_the_run(kept: DraftStore, target) -> None:
    drafter, other = Fused(Suffix(), PromptLookup()), Fused(PromptLookup(), PromptLookup())
    state = taught(drafter, target)
    known, _ = state.found.all.told([1, 2, 3])
    kept.save(drafter, replace(state, found=replace(state.found, all=known)), target)
    back = kept.restored(drafter, target)
    assert back.retriever.learnt.tail(2, 9) == [3, 2, 1]
    assert fingerprint(back, target) == fingerprint(drafter, target), "no knob was learnt"
    assert fingerprint(Fused(Suffix(longest=4), PromptLookup()), target) != fingerprint(drafter, target)
    before = file_of(kept).read_bytes()
    kept.save(other, taught(other, target), target)
    assert file_of(kept).read_bytes() == before, "nothing was learnt that could take its place"
    assert kept.restored(other, target) == other


def test_a_drafter_that_learns_nothing_keeps_nothing(kept: DraftStore, target) -> None:
    kept.save(PromptLookup(), PROMPT, target)
    assert not kept.folder.exists()
    assert kept.restored(PromptLookup(), target) == PromptLookup()


@pytest.mark.parametrize("method", ["plain", "prompt-lookup", "token-recycling"])
def test_a_method_that_keeps_nothing_is_told_of(method: str, kept: DraftStore, target, caplog) -> None:
    with caplog.at_level(logging.WARNING, logger="decant"):
        open_session(target, None, Sampling(), Opening(), method=method, store=kept)
    if method == "token-recycling":
        assert caplog.messages == []
        return
    (said,) = caplog.messages
    assert said.startswith(f"{method} learns nothing that a draft store could keep, and --draft-store does nothing; ")
    assert {"token-recycling", "aded", "suffix"} <= set(said.removesuffix(" do").split("; ")[1].split(", "))
    assert "draft-model" not in said


def spoilt(how: str, file: Path) -> None:
    whole = file.read_bytes()
    if how == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    if how == "cut in its header":
        file.write_bytes(whole[:20])
    if how == "empty":
        file.write_bytes(b"")
    if how == "a bit":
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    if how == "its checksum":
        at = whole.index(b"checksum") + len(b'checksum":"')
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])


@pytest.mark.parametrize("how", ["cut", "cut in its header", "empty", "a bit", "its checksum"])
def test_a_corrupt_store_is_left_aside_and_replaced(how: str, kept: DraftStore, target, caplog) -> None:
    drafter = Aded()
    state = taught(drafter, target)
    kept.save(drafter, state, target)
    spoilt(how, file_of(kept))
    with warned(caplog, r"the draft store .* is not used \(.*\); this run starts with an empty one"):
        assert kept.restored(drafter, target) is drafter
    kept.save(drafter, state, target)
    assert kept.restored(drafter, target).learnt is not None


def test_a_sound_file_of_senseless_tensors_is_left_aside(kept: DraftStore, target, monkeypatch, caplog) -> None:
    drafter = Aded()
    monkeypatch.setattr(Aded, "stored", lambda self, state, room: {"pairs": torch.zeros(1, 2)})
    kept.save(drafter, None, target)
    with warned(caplog, "these are not stored trigrams"):
        assert kept.restored(drafter, target) is drafter


def test_other_vocabularies_and_knobs_have_stores_of_their_own(kept: DraftStore, target, stranger) -> None:
    drafter = Aded()
    kept.save(drafter, taught(drafter, target), target)
    assert fingerprint(drafter, target) != fingerprint(drafter, stranger)
    assert kept.restored(drafter, stranger) is drafter
    assert kept.restored(Aded(length=3), target) == Aded(length=3)
    assert fingerprint(drafter, target) == fingerprint(kept.restored(drafter, target), target), "no knob was learnt"


def test_a_file_of_another_vocabulary_is_not_read(kept: DraftStore, target, stranger, caplog) -> None:
    """Renamed by hand: the name is only a hint."""
    drafter = Aded()
    kept.save(drafter, taught(drafter, target), target)
    file_of(kept).rename(kept._path(drafter, fingerprint(drafter, stranger)))
    with warned(caplog, "it was written for another vocabulary, drafter or version"):
        assert kept.restored(drafter, stranger) is drafter


def test_a_killed_write_leaves_the_old_file(kept: DraftStore, target, monkeypatch) -> None:
    drafter = Aded()
    state = taught(drafter, target)
    kept.save(drafter, state, target)
    before = file_of(kept).read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    later = replace(state, trigrams=state.trigrams.taught([[1, 2, 3]], 9))
    with monkeypatch.context() as patch:
        patch.setattr(store.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            kept.save(drafter, later, target)
    (partial,) = kept.folder.glob("*.partial")
    (file,) = kept.folder.glob("*.safetensors")
    assert file.read_bytes() == before
    assert kept.restored(drafter, target).learnt is not None
    abandoned = partial.rename(partial.with_name("aded-0.safetensors.1.partial"))
    kept.save(drafter, later, target)
    assert abandoned.exists(), "somebody may still be writing it"
    assert file.read_bytes() != before
    os.utime(abandoned, (0, 0))
    kept.save(drafter, later, target)
    assert list(kept.folder.iterdir()) == [file]


def test_a_folder_that_cannot_be_written_costs_no_text(tmp_path: Path, target, monkeypatch, caplog) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    kept, drafter = DraftStore(tmp_path), Aded()
    monkeypatch.setattr(store.os, "fsync", full)
    with warned(caplog, r"what was learnt is not kept: .* cannot be written \(.*No space left"):
        kept.save(drafter, taught(drafter, target), target)


def test_a_store_is_bounded(tmp_path: Path, target) -> None:
    megabytes = 0.02
    kept = DraftStore(tmp_path, megabytes)
    text = torch.randint(target.model.vocab, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    for at, drafter in enumerate((Aded(), Aded(length=3), Aded(length=2))):
        state = taught(drafter, target)
        kept.save(drafter, replace(state, trigrams=state.trigrams.taught([text], 10_000)), target)
        os.utime(max(tmp_path.iterdir(), key=lambda file: file.stat().st_mtime), (at, at))
        size = sum(file.stat().st_size for file in tmp_path.iterdir())
        assert 0.5 * megabytes * 2**20 < size <= megabytes * 2**20
    assert kept.restored(Aded(length=2), target).learnt is not None, "the newest stays"
    assert kept.restored(Aded(), target).learnt is None


def test_the_followers_that_fit_are_stored() -> None:
    ids_VK = torch.tensor([[1, 2], [PAD, PAD], [3, PAD], [0, 1]])
    drafter, state = TokenRecycling(top=2), RecyclingState(torch.tensor([0]), Followers(ids_VK))
    whole, few = drafter.stored(state, 1000), drafter.stored(state, 24)
    assert torch.equal(drafter.restored(whole).learnt.ids_VK, ids_VK)
    assert drafter.restored(few).learnt.ids_VK.tolist() == [[1, 2], [PAD, PAD], [3, PAD], [PAD, PAD]]
    beyond = {**whole, "followers": whole["followers"] + 9}
    for wrong in ({}, {**whole, "tokens": whole["tokens"][:1]}, beyond, {**whole, "shape": torch.tensor([4])}):
        with pytest.raises(BadInput, match="these are not stored followers of token-recycling"):
            drafter.restored(wrong)


def test_messages(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a draft store has more than 0 MB, got 0; leave the option out for none"):
        DraftStore(tmp_path, 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"the draft store .*file is a file; name a folder"):
        DraftStore(tmp_path / "file")
