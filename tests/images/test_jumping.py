"""States, composition and noise of students that jump."""

import pytest
import torch
from torch import Tensor

from decant.images.flow import nearest
from decant.images.jumping import Jumped, compose, flowed, jumped, settled_flags, spliced
from decant.images.layout import Layout
from decant.images.normals import normals
from decant.models.images.body import Body
from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as
from decant.testing.tables import TableTeacher
from tests.images.tiny import RASTER, SCALES, Oracle, student

LAYOUTS = [RASTER, SCALES]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settled(layout: Layout, units: int, batch: int = 2) -> Tensor:
    return settled_flags(torch.full((batch,), units), layout)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_state_is_codes_then_the_noise_of_the_beginning(layout: Layout) -> None:
    codes_BLC, eps_BLC = drawn(2, layout.places, 2), drawn(2, layout.places, 2, seed=1)
    for units in range(layout.units + 1):
        state_BLC = spliced(codes_BLC, eps_BLC, settled(layout, units))
        ends = layout.span(units - 1).stop if units else 0
        assert torch.equal(state_BLC[:, :ends], codes_BLC[:, :ends])
        assert torch.equal(state_BLC[:, ends:], eps_BLC[:, ends:])


def test_requests_may_be_at_different_units() -> None:
    assert settled_flags(torch.tensor([0, 1, 2]), SCALES).tolist() == [[0] * 5, [1, 0, 0, 0, 0], [1] * 5]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_composition_copies_what_is_settled_bit_for_bit(layout: Layout) -> None:
    net = student(layout, split=layout.units - 1)
    state_BLC, flags_BL = drawn(2, layout.places, 2), settled(layout, 1)
    said = Jumped(drawn(2, layout.places, 5, seed=2), drawn(2, layout.places, 2, seed=3))
    vectors_BLC, ids_BL = compose(said, state_BLC, flags_BL, net)
    one, last = layout.span(0).stop, layout.span(layout.units - 1)
    assert torch.equal(vectors_BLC[:, :one], state_BLC[:, :one])
    middle = said.logits_BLV[:, one : last.start].argmax(-1)
    assert torch.equal(ids_BL[:, one : last.start], middle)
    assert torch.equal(vectors_BLC[:, one : last.start], net.codes_VC[middle])
    assert torch.equal(vectors_BLC[:, last], said.vectors_BLC[:, last])
    assert torch.equal(ids_BL[:, last].flatten(), nearest(said.vectors_BLC[:, last].flatten(0, 1), net.codes_VC))


def test_equal_codes_keep_the_id_that_was_meant() -> None:
    codes_VC = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    net = student(RASTER, codes_VC=codes_VC)
    logits_BLV = torch.tensor([0.0, 9.0, 0.0]).expand(1, 4, 3)
    _, ids_BL = compose(Jumped(logits_BLV, drawn(1, 4, 2)), drawn(1, 4, 2), settled(RASTER, 0, 1), net)
    assert ids_BL.tolist() == [[1, 1, 1, 1]]


def leaks(net: object, layout: Layout) -> list[tuple[int, int]]:
    """(i, j) where output i moves with vector j although it must not, or does not although it must."""
    state_BLC, labels_B = drawn(1, layout.places, 2), torch.zeros(1, dtype=torch.int64)
    found = []
    for units in (0, 1):
        flags_BL = settled(layout, units, 1)
        before = net.jump(labels_B, state_BLC, flags_BL)  # type: ignore[attr-defined]
        for j in range(layout.places):
            moved_BLC = state_BLC.clone()
            moved_BLC[:, j] += 1
            after = net.jump(labels_B, moved_BLC, flags_BL)  # type: ignore[attr-defined]
            for i in range(layout.places):
                same = torch.equal(after.logits_BLV[:, i], before.logits_BLV[:, i]) and torch.equal(
                    after.vectors_BLC[:, i], before.vectors_BLC[:, i]
                )
                if same == bool(layout.seen("strict")[i, j]):
                    found.append((i, j))
    return found


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_a_place_follows_earlier_units_and_itself(layout: Layout) -> None:
    assert leaks(student(layout), layout) == []


def test_a_mask_that_shows_siblings_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug: the mask of the teacher, in which a scale sees itself whole."""

    def block(self: Body) -> Tensor:
        seen_LL = torch.nn.functional.pad(self.layout.seen("block"), (1, 0, 1, 0))
        seen_LL[:, 0] = True
        return self._added(seen_LL)

    monkeypatch.setattr(Body, "_strict", block)
    assert set(leaks(student(SCALES), SCALES)) == {(i, j) for i in range(1, 5) for j in range(1, 5) if i != j}


def test_normals_are_normal_and_belong_to_their_request() -> None:
    eps_BLC = normals(Noise.of(list(range(2000))), 3, 4)
    assert abs(float(eps_BLC.mean())) < 0.03  # 24,000 numbers: five standard errors
    assert abs(float(eps_BLC.std()) - 1) < 0.03
    flat_BX = eps_BLC.flatten(1)
    assert (torch.corrcoef(flat_BX.T) - torch.eye(12)).abs().max() < 0.12
    alone_1LC = normals(Noise.of([7]), 2, 4)
    assert torch.equal(alone_1LC[0], eps_BLC[7, :2])
    assert not torch.equal(normals(Noise.of([7]), 2, 4, "another"), alone_1LC)


@pytest.mark.parametrize("split", [1, 2])
def test_a_perfect_student_makes_the_teachers_images(split: int) -> None:
    teacher, labels_B = TableTeacher(), torch.arange(400) % 2
    eps_BLC = normals(Noise.of(list(range(400))), 2, 2)
    wanted_BL = flowed(teacher, labels_B, eps_BLC, steps=40)
    for calls in (1, 2):
        assert torch.equal(jumped(Oracle(teacher, split=split, off=0.05), labels_B, eps_BLC, calls)[1], wanted_BL)


def test_its_images_have_the_joint_law() -> None:
    """40,000 draws over nine outcomes refuse a law that is off by a total variation of 0.03 all but always."""
    teacher, count = TableTeacher(), 40_000
    for label in (0, 1):
        labels_B, seeds = torch.full((count,), label), list(range(label * count, (label + 1) * count))
        ids_BL = flowed(teacher, labels_B, normals(Noise.of(seeds), 2, 2), steps=20)
        assert_distributed_as(ids_BL[:, 0] * 3 + ids_BL[:, 1], teacher.joint(label).flatten(), "trajectories")
