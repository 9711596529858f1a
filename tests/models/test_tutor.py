"""A lesson is about one position, teaches what it says, and leaves the old model as it was."""

from dataclasses import replace

import pytest
import torch

from decant.models import build
from decant.models.load import load
from decant.models.tutor import Tutor
from decant.types import PAD, Draft

TEXT_BT = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
AT = 5  # the lesson is about what follows the first five tokens


@pytest.fixture(scope="module")
def tutor(tmp_path_factory) -> Tutor:
    folder = tmp_path_factory.mktemp("draft")
    build.save_folder(build.untrained(build.LlamaSpec(32, 32, 2, 2, 1, 64)), folder, torch.float32)
    return replace(Tutor.of(load(str(folder), exact="off")), rate=3e-3, steps=12)


def law(tutor: Tutor, length: int) -> torch.Tensor:
    context, _ = tutor.model.start(TEXT_BT[:, :length])
    return tutor.model.score(context, Draft.nothing(1)).logits_BMV[0, 0].softmax(-1)


def taught(tutor: Tutor, at: int, token: int = 7, seconds: float = 60.0) -> Tutor:
    lesson = (TEXT_BT, torch.tensor([[at, PAD]]), torch.tensor([[[token], [0]]]), torch.ones(1, 2, 1))
    return tutor.taught(*lesson, seconds)


def test_what_was_taught_became_likelier_there_more_than_anywhere_else(tutor: Tutor) -> None:
    after = taught(tutor, AT)
    gain = [float((law(after, at)[7] / law(tutor, at)[7]).log()) for at in range(1, 9)]
    assert gain[AT - 1] > 0.5
    assert max(range(8), key=gain.__getitem__) == AT - 1, f"another position learnt more: {gain}"


def test_the_old_tutor_stays_as_it_was(tutor: Tutor) -> None:
    before = law(tutor, AT)
    taught(tutor, AT)
    assert torch.equal(law(tutor, AT), before)


def test_lessons_add_up(tutor: Tutor) -> None:
    once = taught(tutor, AT)
    twice = taught(once, AT)
    assert float(law(twice, AT)[7]) > float(law(once, AT)[7]) > float(law(tutor, AT)[7])
    assert len(twice.memory["state"])


def test_no_lesson_no_change(tutor: Tutor) -> None:
    assert tutor.taught(TEXT_BT, torch.full((1, 0), PAD), torch.empty(1, 0, 4).long(), torch.empty(1, 0, 4)) is tutor


def test_ids_that_the_draft_does_not_know_teach_nothing(tutor: Tutor) -> None:
    ids, probs = torch.tensor([[[7, 40]]]), torch.tensor([[[0.5, 0.5]]])
    after = tutor.taught(TEXT_BT, torch.tensor([[AT]]), ids, probs, seconds=60.0)
    assert float(law(after, AT)[7]) > float(law(tutor, AT)[7])


def test_a_lesson_has_a_time_limit(tutor: Tutor) -> None:
    hurried = taught(tutor, AT, seconds=0.0)
    one_step = taught(replace(tutor, steps=1), AT)
    assert torch.equal(law(hurried, AT), law(one_step, AT))


def test_when_time_is_short_the_newest_lesson_is_the_one_that_is_read(tutor: Tutor) -> None:
    before = taught(replace(tutor, steps=1, rate=1e-9), AT, token=9)  # remembered, and hardly learnt
    hurried = taught(replace(before, steps=1, rate=tutor.rate, memory={}), AT, token=7, seconds=0.0)
    alone = taught(replace(tutor, steps=1), AT, token=7)
    torch.testing.assert_close(law(hurried, AT), law(alone, AT), atol=1e-5, rtol=1e-4)
