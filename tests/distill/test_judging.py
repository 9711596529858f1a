"""A judge learns classes, and its folder says what it learnt from."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.distill.images.judging import Exam, accuracy, scaled, shifted, teach
from decant.distill.settings import Settings
from decant.errors import BadInput
from decant.models.images.judge import Judge, JudgeSpec, read, save, untrained

EXAM = Exam(Settings(60, 1e-2, warmup=5, save_every=30, report_every=60, quiet=True), batch=32, kept=50)
CLASSES = ("left", "right")


def bright(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Noise, brighter on one side."""
    rng = torch.Generator().manual_seed(seed)
    labels_N = torch.arange(count) % 2
    images_NYX = torch.rand(count, 4, 4, generator=rng) * 0.6
    for label in (0, 1):
        images_NYX[labels_N == label, :, 2 * label : 2 * label + 2] += 0.4
    return images_NYX, labels_N


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    before = torch.random.get_rng_state()
    made = teach(bright(80, seed=0), CLASSES, tmp_path_factory.mktemp("run"), EXAM)
    assert torch.equal(torch.random.get_rng_state(), before)
    return made


def test_it_learns_classes_that_it_has_not_seen(judge: Judge) -> None:
    held = bright(200, seed=1)
    assert accuracy(judge.net, held) > 0.95
    assert accuracy(untrained(judge.net.spec, seed=3), held) < 0.8
    assert accuracy(judge.net, (held[0], 1 - held[1])) < 0.05


def test_a_run_goes_on_to_the_same_bits(judge: Judge, tmp_path: Path) -> None:
    half = Exam(Settings(30, 1e-2, warmup=5, decay=0.0, save_every=30, report_every=60, quiet=True), batch=32)
    whole = Exam(Settings(40, 1e-2, warmup=5, decay=0.0, save_every=40, report_every=60, quiet=True), batch=32)
    teach(bright(80, seed=0), CLASSES, tmp_path / "parted", half)
    parted = teach(bright(80, seed=0), CLASSES, tmp_path / "parted", whole)
    once = teach(bright(80, seed=0), CLASSES, tmp_path / "once", whole)
    assert all(torch.equal(one, two) for one, two in zip(parted.net.parameters(), once.net.parameters(), strict=True))


def test_the_reference_has_a_variance_of_a_hundred(judge: Judge) -> None:
    assert len(judge.labels_N) == EXAM.kept
    features_ND, _ = judge.net.look(judge.images_NYX)
    assert float(features_ND.double().var(0).sum()) == pytest.approx(100, rel=1e-4)
    again = scaled(judge)  # a scale that is applied twice would be its square
    assert again.net.spec.scale == pytest.approx(judge.net.spec.scale, rel=1e-6)


def test_a_folder_keeps_the_judge_and_its_reference(judge: Judge, tmp_path: Path) -> None:
    save(judge, tmp_path)
    found = read(tmp_path)
    assert found.net.spec == judge.net.spec
    assert torch.equal(found.labels_N, judge.labels_N)
    assert (found.images_NYX - judge.images_NYX).abs().max() <= 0.5 / 255 + 1e-6
    held_NYX, _ = bright(40, seed=2)
    assert torch.equal(found.net.look(held_NYX)[1], judge.net.look(held_NYX)[1])
    (tmp_path / "reference.safetensors").unlink()
    with pytest.raises(BadInput, match="holds no judge of images that can be read"):
        read(tmp_path)


def test_images_of_another_size_are_refused(judge: Judge) -> None:
    with pytest.raises(BadInput, match="reads images of 4x4, not 8x8; train one on images of that size"):
        judge.net.look(torch.zeros(2, 8, 8))
    with pytest.raises(BadInput, match=r"squares of 2, 4, 8 \.\.\. pixels a side, not 28; pad the images"):
        JudgeSpec(28, CLASSES)


def test_an_image_moves_by_its_own_way() -> None:
    image_YX = torch.arange(9.0).view(3, 3) + 1
    moved_BYX = shifted(image_YX.expand(3, -1, -1), torch.tensor([[1, 1], [0, 1], [1, 2]]), most=1)
    assert torch.equal(moved_BYX[0], image_YX)
    assert moved_BYX[1].tolist() == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    assert moved_BYX[2].tolist() == [[2, 3, 0], [5, 6, 0], [8, 9, 0]]
