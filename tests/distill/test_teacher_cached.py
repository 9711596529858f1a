"""A cache of laws: it says what the teacher said, its size is told beforehand, and no accident goes unnoticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from decant.distill.caching import Author, write
from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.shards import Facts, Shard, place, put
from decant.distill.teachers.cached import Cached
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.distill.trainer import Settings, run
from decant.errors import BadInput
from decant.models.student import read
from tests.distill.caches import ALL, SPELT, STORING, VOCAB, authored, contents, model, texts, toy


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


def agrees(one, other, batch: TextBatch) -> None:
    """Both teachers' nats of a student, beside the same outcomes."""
    at = Positions.of(batch)
    student = read(model(2).eval(), batch.ids_BT, at.row_N, at.at_N).logp(slice(None)).detach()
    law = one.signal(batch, at).law(slice(None))
    p, q, _ = law.beside(student, at.label_N)
    whole = other.signal(batch, at).law(slice(None)).logp_XV
    best = whole.gather(-1, law.ids_XK)
    rest = (1 - best.exp().sum(-1, keepdim=True)).clamp_min(0).log()
    expected = ForwardKL()(torch.cat([best, rest], -1), q)
    assert torch.allclose(ForwardKL()(p, q), expected, atol=5e-3)


def test_a_cache_says_what_the_teacher_said(cache, live) -> None:
    cached = Cached(cache, SPELT)
    for chosen in (texts()[:7], texts()[11:4:-2]):
        batch = padded(chosen, 99)
        agrees(cached, live, batch)
        at = Positions.of(batch)
        whole, found = live.signal(batch, at).law(slice(None)).logp_XV, cached.signal(batch, at)
        logp, ids = whole.topk(8)
        assert torch.equal(found.ids_XK, ids)
        assert torch.allclose(found.logp_XK, logp, atol=5e-3)
        assert torch.allclose(found.rest_X.exp(), 1 - logp.exp().sum(-1), atol=5e-3)
        assert torch.equal(found.law(slice(3, 5)).ids_XK, ids[3:5])


def test_all_ids_are_the_whole_law(author, live, tmp_path) -> None:
    write(author, texts(), tmp_path, replace(STORING, k=999))
    batch = padded(texts(), 99)
    at = Positions.of(batch)
    q = read(model(2).eval(), batch.ids_BT, at.row_N, at.at_N).logp(slice(None)).detach()
    nats = [
        ForwardKL()(*teacher.signal(batch, at).law(slice(None)).beside(q, at.label_N)[:2])
        for teacher in (live, Cached(tmp_path, SPELT))
    ]
    assert Facts.read(tmp_path).k == VOCAB
    assert torch.allclose(*nats, atol=2e-3)


def test_planted_bugs_are_caught(cache, live) -> None:
    batch = padded(texts(), 99)

    def planted(change) -> Cached:
        for file in sorted(cache.glob("*.safetensors")):
            put(file, change({name: np.array(part) for name, part in Shard(file).sound.items()}))
        return Cached(cache, SPELT)

    laws = ("low_RK", "logp_RK", "rest_R")
    with pytest.raises(AssertionError):  # rows of laws off by one
        agrees(planted(lambda parts: parts | {name: np.roll(parts[name], 1, 0) for name in laws}), live, batch)
    planted(lambda parts: parts | {name: np.roll(parts[name], -1, 0) for name in laws})  # back again
    agrees(Cached(cache, SPELT), live, batch)
    with pytest.raises(AssertionError):  # the tail dropped
        agrees(planted(lambda parts: parts | {"rest_R": np.full_like(parts["rest_R"], -np.inf)}), live, batch)
    with pytest.raises(BadInput, match="other ids"):  # whole rows off by one
        agrees(planted(lambda parts: parts | {"check_R": np.roll(parts["check_R"], 1)}), live, batch)


@pytest.mark.parametrize("accident", ["a byte", "cut short", "no header", "gone"])
def test_a_damaged_shard_is_refused_and_made_again(author, cache, tmp_path, accident) -> None:
    whole = contents(cache)
    file = place(cache, 2)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes({"a byte": data, "cut short": data[:-40], "no header": b"x" * 99, "gone": b""}[accident])
    if accident == "gone":
        file.unlink()
    with pytest.raises(BadInput, match=r"checksum is wrong.*delete that file" if accident == "a byte" else str(cache)):
        Cached(cache, SPELT).signal(ALL, Positions.of(ALL))
    file.unlink(missing_ok=True)
    write(author, texts(), cache, STORING)
    assert contents(cache) == whole


def test_only_what_is_touched_is_checked(cache) -> None:
    file = place(cache, 3)
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)
    inside = {int(number) for number in Shard(place(cache, 0)).sound["number_S"]}
    batch = padded([text for text in texts() if text.number in inside], 99)
    assert len(Cached(cache, SPELT).signal(batch, Positions.of(batch)).rest_X)


def test_another_student_is_refused(cache, tmp_path) -> None:
    with pytest.raises(BadInput, match=f"ids of the tokenizer {SPELT}, and the student's is other; write a cache"):
        Cached(cache, "other")
    with pytest.raises(BadInput, match="was made at temperature 1, not 2; train at 1, or write a cache at 2"):
        Cached(cache, SPELT, 2.0)
    with pytest.raises(BadInput, match=r"no cache of a teacher's laws.*write one first"):
        Cached(tmp_path / "nowhere", SPELT)
    (cache / "cache.json").write_text((cache / "cache.json").read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(BadInput, match="format 9, and this version reads 1"):
        Cached(cache, SPELT)


def test_texts_that_are_not_there_are_refused(cache) -> None:
    cached, text = Cached(cache, SPELT), texts()[3]

    def asked(text: Text) -> None:
        batch = padded([text], 99)
        cached.signal(batch, Positions.of(batch))

    asked(text)
    with pytest.raises(BadInput, match="does not know text 999; it holds the 18 texts"):
        asked(replace(text, number=999))
    with pytest.raises(BadInput, match="does not know a text that was written just now"):
        asked(replace(text, number=-1))
    with pytest.raises(BadInput, match="no row at position 0 of text 6"):
        asked(replace(text, weights=[1.0] * len(text.ids)))
    with pytest.raises(BadInput, match="no row at position"):
        asked(replace(text, ids=[*text.ids, 5], weights=[*text.weights, 1.0]))
    with pytest.raises(BadInput, match="text 6 has other ids"):
        asked(replace(text, ids=[(text.ids[0] + 1) % VOCAB, *text.ids[1:]]))
    asked(replace(text, ids=[*text.ids[:-1], (text.ids[-1] + 1) % VOCAB]))  # the last id is label only: same laws


def test_a_softened_cache_is_trained_at_its_temperature(author, live, tmp_path) -> None:
    write(author, texts(), tmp_path, replace(STORING, temperature=2.0, k=VOCAB))
    batch = padded(texts(), 99)
    nats = []
    for teacher in (live, Cached(tmp_path, SPELT, 2.0)):
        asked = (Asked(Pointwise(ForwardKL(), 2.0)),)
        made = Composition(Learner(model(2), [None]), None, Dataset(texts()), asked, teacher)  # type: ignore[arg-type]
        nats.append(float(made.nats(made.start(), 0, batch).detach() / batch.weight))
    assert nats[0] == pytest.approx(nats[1], rel=1e-3)
    asked = (Asked(Pointwise(ForwardKL())),)
    made = Composition(Learner(model(2), [None]), None, Dataset(texts()), asked, Cached(tmp_path, SPELT, 2.0))  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="do not tell its law at 1; train at 2"):
        made.nats(made.start(), 0, batch)


def test_a_student_learns_from_the_cache_alone(cache, live, tmp_path) -> None:
    student, asked, batch = model(2), (Asked(Pointwise(ForwardKL())),), padded(texts(), 99)

    def composed(teacher) -> Composition:
        rows = Dataset(texts(), rows=4, length=12)  # shorter than the cache: a cut text has its first rows
        return Composition(Learner(student, [None]), None, rows, asked, teacher, micro=3)  # type: ignore[arg-type]

    def apart(teacher) -> float:
        made = composed(teacher)
        with torch.no_grad():
            return float(made.nats(made.start(), 0, batch) / batch.weight)

    cached = Cached(cache, SPELT)
    before = apart(live)
    assert 0.5 * before < apart(cached) <= before + 1e-3  # a bound from below, and near
    made = composed(cached)
    run(made.learner, made, Settings(40, peak=1e-2, warmup=5, quiet=True), tmp_path / "run")
    assert apart(live) < 0.45 * before
