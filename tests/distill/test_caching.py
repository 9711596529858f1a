"""Caches being written: their size is told beforehand, and whatever kills the run, it goes on to the same bytes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from decant import disk
from decant.distill import shards
from decant.distill.caching import Author, Storing, fingerprint, plan, tokenizer_hash, write
from decant.distill.shards import checks
from decant.distill.teachers.cached import Cached
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.errors import BadInput, IncompatibleParts
from tests.distill.caches import SPELT, STORING, VOCAB, Table, authored, contents, model, texts, toy


@pytest.fixture(scope="module")
def live() -> Live:
    return toy()


@pytest.fixture
def author(live) -> Author:
    return authored(live)


@pytest.fixture
def cache(author, tmp_path) -> Path:
    write(author, texts(), tmp_path / "cache", STORING)
    return tmp_path / "cache"


def test_size_and_error_are_told_beforehand(author, live, tmp_path) -> None:
    many = texts(160, 90)
    for storing in (Storing(), Storing(k=5, per_shard=40)):
        told = plan(live, many, storing)
        folder = tmp_path / str(storing.k)
        facts = write(author, many, folder, storing)
        size = sum(file.stat().st_size for file in folder.iterdir())
        assert told.bytes == pytest.approx(size, rel=0.01)
        assert told.rows == facts.rows == sum(sum(text.weights[1:]) for text in many)
        assert told.bytes_per_token == pytest.approx(size / facts.rows, rel=0.01)
        assert size / facts.rows <= 100
        assert told.k == facts.k == (storing.k or 23)  # 4 bytes an id, 6 of a row, the folder's own
    few, more = plan(live, many, Storing(k=2)), plan(live, many, Storing(k=16))
    assert few.nats > more.nats > plan(live, many, Storing(k=VOCAB)).nats
    assert few.rest > more.rest > 0
    assert plan(live, many, Storing(k=VOCAB)).nats < 1e-4


def test_wide_vocabularies_take_three_bytes_an_id(tmp_path) -> None:
    wide = Table(70_000)
    some = texts(4, 40, 70_000)
    facts = write(Author(wide, "wide", "", SPELT), some, tmp_path)
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert (facts.k, facts.row_bytes) == (18, 96)
    assert facts.bytes == pytest.approx(size, rel=0.02)
    batch = padded(some, 99)
    at = Positions.of(batch)
    found = Cached(tmp_path, SPELT).signal(batch, at)
    logp, ids = wide.signal(batch, at).law(slice(None)).logp_XV.topk(facts.k)
    assert int(ids.max()) >= 2**16
    assert torch.equal(found.ids_XK.sort().values, ids.sort().values)
    assert torch.allclose(found.logp_XK, logp, atol=1e-2)


def test_a_budget_without_room_is_refused(live) -> None:
    with pytest.raises(BadInput, match=r"9 bytes a token hold no id; 1\d would"):
        plan(live, texts(), Storing(budget=9.0))


@pytest.mark.parametrize("instant", ["before a shard is in its place", "in the middle of its bytes", "between shards"])
def test_a_killed_run_goes_on_to_the_same_bytes(author, cache, tmp_path, instant) -> None:
    folder = tmp_path / "killed"
    child = os.fork()
    if not child:  # a process of its own, without a second start of everything that is imported
        calls = [0]
        replaced, saved = os.replace, shards.save_file

        def die(*given) -> None:
            calls[0] += 1
            if calls[0] == 3:  # the facts, or two shards, lie there
                if instant == "in the middle of its bytes":
                    saved(*given)
                    os.truncate(given[1], 700)
                os.kill(os.getpid(), signal.SIGKILL)
            (saved if instant == "in the middle of its bytes" else replaced)(*given)

        if instant == "before a shard is in its place":
            disk.os.replace = die
        elif instant == "in the middle of its bytes":
            shards.save_file = die
        told = kill_at_the_second if instant == "between shards" else lambda done, total: None
        try:
            write(author, texts(), folder, STORING, told)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    begun = contents(folder)
    whole = [name for name in begun if name.endswith(".safetensors")]
    assert 0 < len(whole) < 4
    with pytest.raises(BadInput, match=f"has {len(whole)} of 4 shards; write the cache again, it goes on"):
        Cached(folder, SPELT)
    times = {name: (folder / name).stat().st_mtime_ns for name in whole}
    write(author, texts(), folder, STORING)
    assert contents(folder) == contents(cache)
    assert {name: (folder / name).stat().st_mtime_ns for name in whole} == times  # not made again


def kill_at_the_second(done: int, total: int) -> None:
    if done > 5:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_teacher_that_dies_leaves_what_is_whole(author, cache, tmp_path) -> None:
    class Mortal:
        gives = Live.gives
        left = 5

        def signal(self, batch: TextBatch, at: Positions):
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("out of memory")
            return author.teacher.signal(batch, at)

    folder = tmp_path / "dead"
    with pytest.raises(RuntimeError, match="out of memory"):
        write(replace(author, teacher=Mortal()), texts(), folder, STORING)
    assert 0 < len(list(folder.glob("*.safetensors"))) < 4
    told: list[tuple[int, int]] = []
    write(author, texts(), folder, STORING, lambda *said: told.append(said))
    assert contents(folder) == contents(cache)
    assert told == [(5, 18), (10, 18), (15, 18), (18, 18)]


def test_a_folder_that_was_begun_otherwise_is_refused(author, cache) -> None:
    for made, storing, ids, what in (
        (author, replace(STORING, temperature=2.0), texts(), "temperature 1.0, and now it is 2.0"),
        (author, replace(STORING, k=9), texts(), "k 8, and now it is 9"),
        (replace(author, fingerprint="other"), STORING, texts(), "and now it is 'other'"),
        (replace(author, tokenizer="other"), STORING, texts(), "tokenizer"),
        (author, STORING, texts(17), "texts 18, and now it is 17"),
        (author, STORING, [*texts()[:-1], Text.answer([1] * len(texts()[-1].ids), 2, 34)], "rows|digest"),
    ):
        with pytest.raises(BadInput, match=what):
            write(made, ids, cache, storing)


def test_wrong_texts_and_teachers_are_refused_when_writing(author, cache, tmp_path) -> None:
    with pytest.raises(BadInput, match="count them from 0"):
        write(author, [replace(text, number=0) for text in texts()], tmp_path)
    with pytest.raises(BadInput, match="raise the length"):
        write(author, [Text.answer([1, 2, 3, 4], 3, 0)], tmp_path, Storing(length=3))
    with pytest.raises(IncompatibleParts, match="Cached gives law; take a live teacher"):
        write(replace(author, teacher=Cached(cache, SPELT)), texts(), tmp_path)
    with pytest.raises(BadInput, match="per_shard >= 1"):
        Storing(per_shard=0)


def test_hashes_tell_models_and_beginnings_apart(live) -> None:
    assert fingerprint(model(1)) == fingerprint(live.model.network) != fingerprint(model(2))
    assert tokenizer_hash({"b": 1, "a": 0}) == SPELT != tokenizer_hash({"b": 0, "a": 1})
    one, other = checks([5, 6, 7, 8]), checks([5, 9, 7, 8])
    assert one[0] == other[0]
    assert (one[1:] != other[1:]).all()
