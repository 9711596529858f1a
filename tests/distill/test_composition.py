"""Parts become a training: the student comes closer to its teacher, pieces do not matter, wrong parts are refused."""

import random

import pytest
import torch

from decant.distill.composition import Asked, Composition, Learner
from decant.distill.divergences.forward_kl import ForwardKL
from decant.distill.objectives.cross_entropy import CrossEntropy
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.rollouts.dataset import Dataset
from decant.distill.seams import Share
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, padded
from decant.distill.trainer import Settings, run
from decant.errors import BadInput, IncompatibleParts
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import read
from decant.models.teacher import Teacher

VOCAB = 24
DISTANCE = (Asked(Pointwise(ForwardKL())),)


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch) -> None:
    """The rounding of bfloat16 depends on how rows lie together."""
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)


def model(seed: int, width: int = 16):
    network = untrained(LlamaSpec(VOCAB, width, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def texts(count: int = 12) -> list[Text]:
    rng = random.Random(0)
    made = []
    for number in range(count):
        length = rng.randint(6, 14)
        made.append(Text.answer([rng.randrange(VOCAB) for _ in range(length)], rng.randint(1, 4), number))
    return made


def composed(student, objectives=DISTANCE, teacher=None, **parts) -> Composition:
    teacher = Live(Teacher("toy", model(1).eval().requires_grad_(False))) if teacher is None else teacher
    learner = Learner(student, [None] * len(objectives))
    return Composition(learner, None, Dataset(texts(), rows=4), objectives, teacher, **parts)


def test_the_student_comes_closer_to_its_teacher(tmp_path) -> None:
    student = model(2)
    made = composed(student)
    batch = padded(texts(), 99)

    def apart() -> float:
        with torch.no_grad():
            return float(made.nats(made.start(), 0, batch) / batch.weight)

    before = apart()
    run(made.learner, made, Settings(60, peak=1e-2, warmup=5, quiet=True), tmp_path)
    assert apart() < 0.3 * before


def test_the_size_of_pieces_does_not_matter() -> None:
    found = []
    for micro in (1, 3, 4):
        student = model(2)
        made = composed(student, (Asked(Pointwise(ForwardKL()), 0.5), Asked(CrossEntropy(), 0.5)), micro=micro)
        pieces, _ = made.batches(made.start(), 3, Share())
        assert len(pieces) == -(-4 // micro)
        weight = sum(float(made.weight(piece)) for piece in pieces)
        for piece in pieces:
            (made.nats(made.start(), 3, piece) / weight).backward()
        found.append(torch.cat([one.grad.flatten() for one in student.parameters()]))
    assert all(torch.allclose(found[0], other, atol=1e-6) for other in found[1:])


def test_processes_share_the_rows_of_a_step() -> None:
    rows = Dataset(texts(), rows=5)
    whole, _ = rows.batch(None, 7, Share())
    parts = [rows.batch(None, 7, Share(rank, 2))[0] for rank in range(2)]
    assert [len(part) for part in parts] == [3, 2]
    assert parts[1].numbers_B.tolist() == whole.numbers_B[1::2].tolist()


def test_every_text_comes_once_an_epoch() -> None:
    rows = Dataset(texts(12), rows=4, seed=3)
    numbers = [text.number for step in range(3, 6) for text in rows.chosen(step)]
    assert sorted(numbers) == list(range(12))
    assert numbers != [text.number for step in range(3) for text in rows.chosen(step)]


def test_a_position_predicts_the_id_behind_it() -> None:
    batch = padded([Text.answer([5, 6, 7, 8], 2), Text.answer([1, 2, 3], 1)], 99)
    at = Positions.of(batch)
    assert list(zip(at.row_N.tolist(), at.at_N.tolist(), at.label_N.tolist(), strict=True)) == [
        (0, 1, 7), (0, 2, 8), (1, 0, 2), (1, 1, 3),
    ]  # fmt: skip
    assert batch.text(1) == Text([1, 2, 3], [0.0, 1.0, 1.0], 1)


def test_padding_behind_a_text_changes_nothing() -> None:
    network, short = model(1).eval(), padded(texts()[:1], 99)
    wide = padded([texts()[0], Text.answer([3] * 30, 1)], 99)
    at, both = Positions.of(short), Positions.of(wide)
    alone = read(network, short.ids_BT, at.row_N, at.at_N).logp(slice(None))
    beside = read(network, wide.ids_BT, both.row_N, both.at_N).logp(slice(0, len(at)))
    assert torch.allclose(alone, beside, atol=1e-5)


def test_an_objective_that_the_teacher_cannot_serve_is_refused() -> None:
    with pytest.raises(IncompatibleParts, match="Pointwise needs law"):
        Composition(Learner(model(2), [None]), None, Dataset(texts()), (Asked(Pointwise(ForwardKL())),))


def test_texts_without_an_answer_are_refused() -> None:
    with pytest.raises(BadInput, match="raise --length"):
        Dataset([Text.answer([1, 2, 3], 2)], length=2)
