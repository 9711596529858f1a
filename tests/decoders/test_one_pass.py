"""Decoders of students that say an image in one pass: what is final when, and what the teacher may change."""

from dataclasses import dataclass
from typing import Any, final

import pytest
import torch
from torch import Tensor

from decant.decoders.generate import generate
from decant.decoders.one_pass import OnePass
from decant.decoders.resampled_tail import ResampledTail
from decant.decoders.stopping import Stopping
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput, IncompatibleParts
from decant.images.flow import nearest
from decant.images.jumping import flowed
from decant.images.layout import Layout
from decant.images.normals import normals
from decant.images.seams import AnyTeacher
from decant.noise import Noise
from decant.protocols import AnyDecoder
from decant.testing.chi_square import assert_distributed_as
from decant.testing.tables import TableTeacher
from decant.types import PAD, join_rows, select_rows
from tests.images.tiny import RASTER, SCALES, model

TABLE = TableTeacher()
SEEDS = list(range(40))


@final
@dataclass(frozen=True, slots=True)
class Follows:
    """A `OnePassStudent` that follows the flows of a teacher; its vectors are the codes, moved by `off`."""

    teacher: AnyTeacher
    off: float = 0.05

    @property
    def layout(self) -> Layout:
        return self.teacher.layout

    @property
    def codes_VC(self) -> Tensor:
        return self.teacher.codes_VC

    @property
    def classes(self) -> int:
        return self.teacher.classes

    def draw(self, labels_B: Tensor, eps_BLC: Tensor) -> Tensor:
        return self.codes_VC[flowed(self.teacher, labels_B, eps_BLC)] + self.off


def prompts(teacher: Any, count: int) -> Tensor:
    return (torch.arange(count) % 2 + len(teacher.codes_VC))[:, None]


def images(decoder: AnyDecoder, teacher: Any, seeds: list[int] = SEEDS) -> tuple[Tensor, int, Any]:
    """ids_BL, steps and the last state."""
    stopping = [Stopping(teacher.layout.places)] * len(seeds)
    turn = generate(decoder, prompts(teacher, len(seeds)), Noise.of(seeds), stopping)
    return torch.tensor([output.tokens for output in turn.outputs]), turn.steps, turn.state


def test_one_pass_says_it_all() -> None:
    decoder = OnePass(Follows(TABLE))
    ids_BL, steps, state = images(decoder, TABLE)
    assert steps == decoder.forwards == 1
    eps_BLC = normals(Noise.of(SEEDS), 2, 2)
    wanted_BLC = Follows(TABLE).draw(prompts(TABLE, 40)[:, 0] - 3, eps_BLC)
    assert torch.equal(state.vectors_BLC, wanted_BLC)
    assert torch.equal(ids_BL, nearest(wanted_BLC, TABLE.codes_VC))


@pytest.mark.parametrize("units", [1, 3])
def test_the_teacher_changes_the_last_units_alone(units: int, tmp_path: Any) -> None:
    teacher = teacher_of(model(tmp_path, RASTER))
    decoder = ResampledTail(Follows(teacher), teacher, units)
    ids_BL, steps, state = images(decoder, teacher)
    once_BL, _, once = images(OnePass(Follows(teacher)), teacher)
    kept = teacher.layout.places - units
    assert steps == decoder.forwards == 1 + units
    assert torch.equal(ids_BL[:, :kept], once_BL[:, :kept])
    assert torch.equal(state.vectors_BLC[:, :kept], once.vectors_BLC[:, :kept])
    assert torch.equal(state.vectors_BLC[:, kept:], teacher.codes_VC[ids_BL[:, kept:]])
    assert not torch.equal(ids_BL[:, kept:], once_BL[:, kept:])


def test_steps_name_units_in_their_order(tmp_path: Any) -> None:
    teacher = teacher_of(model(tmp_path, SCALES))
    decoder = ResampledTail(Follows(teacher), teacher, 1)
    state = decoder.start(prompts(teacher, 2), Noise.of([0, 1]))
    state, first = decoder.step(state)
    state, last = decoder.step(state)
    assert (first.positions_BC != PAD).nonzero()[:, 1].tolist() == [0, 0]
    assert last.positions_BC[0, 1:].tolist() == [1, 2, 3, 4]
    assert (last.tokens_BC[:, 0] == PAD).all()


def test_what_the_teacher_samples_has_its_law() -> None:
    """Behind the first codes, whatever they are: the joint law is then the teacher's, for the first are. 20,000 draws
    refuse a law that is off by a total variation of 0.03 all but always."""
    seeds = list(range(20_000))
    state = ResampledTail(Follows(TABLE), TABLE).start(torch.full((20_000, 1), 4), Noise.of(seeds))
    for _ in range(2):
        state, _ = ResampledTail(Follows(TABLE), TABLE).step(state)
    assert_distributed_as(3 * state.ids_BL[:, 0] + state.ids_BL[:, 1], TABLE.joint(1).flatten(), "dd2-teacher")


def test_an_image_does_not_depend_on_its_company(tmp_path: Any) -> None:
    teacher = teacher_of(model(tmp_path, RASTER))
    decoder = ResampledTail(Follows(teacher), teacher, 2)
    together, _, _ = images(decoder, teacher)
    state = decoder.start(prompts(teacher, 40), Noise.of(SEEDS))
    state, _ = decoder.step(state)
    few = join_rows(select_rows(state, torch.tensor([7])), select_rows(state, torch.tensor([2])))
    for _ in range(2):
        few, _ = decoder.step(few)
    assert torch.equal(few.ids_BL, together[[7, 2]])


def test_what_cannot_be_is_refused(tmp_path: Any) -> None:
    student, teacher = Follows(TABLE), teacher_of(model(tmp_path, SCALES))
    with pytest.raises(BadInput, match=r"1 \.\.\. 1 of 2 units, got 2"):
        ResampledTail(student, TABLE, 2)
    with pytest.raises(IncompatibleParts, match="the student's own teacher"):
        ResampledTail(student, teacher)
    with pytest.raises(BadInput, match=r"one of the ids 3 \.\.\. 4"):
        OnePass(student).start(torch.tensor([[5]]), Noise.of([0]))


def test_requests_that_did_not_begin_together_are_refused() -> None:
    decoder = ResampledTail(Follows(TABLE), TABLE)
    state = decoder.start(prompts(TABLE, 2), Noise.of([0, 1]))
    on, _ = decoder.step(state)
    with pytest.raises(IncompatibleParts, match="begin together"):
        decoder.step(join_rows(select_rows(on, torch.tensor([0])), select_rows(state, torch.tensor([1]))))
