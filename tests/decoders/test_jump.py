"""Decoders that jump: one pass a step, the same noise in all of them, the teacher where it was asked for."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.decoders.assisted_jump import AssistedJump
from decant.decoders.generate import generate
from decant.decoders.jump import Jump
from decant.decoders.stopping import Stopping
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput, IncompatibleParts
from decant.images.jumping import flowed
from decant.images.normals import normals
from decant.noise import Noise
from decant.protocols import AnyDecoder
from decant.testing.tables import TableTeacher
from decant.types import PAD, join_rows, select_rows
from tests.images.tiny import RASTER, SCALES, Oracle, model

TABLE = TableTeacher()
SEEDS = list(range(64))


def prompts(teacher: Any, count: int = len(SEEDS)) -> Tensor:
    return (torch.arange(count) % 2 + len(teacher.codes_VC))[:, None]


def images(decoder: AnyDecoder, teacher: Any, seeds: list[int] = SEEDS) -> tuple[list[list[int]], int, Any]:
    """Codes, steps and the last state."""
    stopping = [Stopping(teacher.layout.places)] * len(seeds)
    turn = generate(decoder, prompts(teacher, len(seeds)), Noise.of(seeds), stopping)
    return [output.tokens for output in turn.outputs], turn.steps, turn.state


def wanted(teacher: Any, seeds: list[int] = SEEDS) -> list[list[int]]:
    """What the teacher makes of the same noise."""
    eps_BLC = normals(Noise.of(seeds), teacher.layout.places, teacher.codes_VC.shape[1])
    return flowed(teacher, prompts(teacher, len(seeds))[:, 0] - len(teacher.codes_VC), eps_BLC).tolist()


@pytest.mark.parametrize("calls", [1, 2])
def test_a_pass_a_step(calls: int) -> None:
    decoder = Jump(Oracle(TABLE), calls)
    said, steps, state = images(decoder, TABLE)
    assert steps == decoder.forwards == calls
    assert said == wanted(TABLE)
    assert state.vectors_BLC.shape == (64, 2, 2)


def test_the_first_of_two_passes_settles_the_first_units() -> None:
    decoder = Jump(Oracle(TABLE), 2)
    state = decoder.start(prompts(TABLE), Noise.of(SEEDS))
    state, first = decoder.step(state)
    assert (first.tokens_BC[:, 1] == PAD).all()
    assert first.positions_BC[:, 0].tolist() == [0] * 64
    _, second = decoder.step(state)
    assert (second.tokens_BC[:, 0] == PAD).all()
    assert (second.tokens_BC[:, 1] != PAD).all()


def test_fresh_noise_in_the_second_pass_is_caught() -> None:
    """The planted bug: it leads to another image than the one that was begun."""
    decoder = Jump(Oracle(TABLE), 2)
    state, _ = decoder.step(decoder.start(prompts(TABLE), Noise.of(SEEDS)))
    again, _ = decoder.step(state)
    assert again.ids_BL.tolist() == wanted(TABLE)
    fresh, _ = decoder.step(replace(state, eps_BLC=normals(Noise.of(SEEDS), 2, 2, "fresh")))
    assert fresh.ids_BL.tolist() != wanted(TABLE)


def test_a_seed_gives_its_image_in_any_batch() -> None:
    decoder = Jump(Oracle(TABLE), 2)
    assert images(decoder, TABLE, [9, 4, 30])[0][2] == images(decoder, TABLE, [30])[0][0]


def test_requests_join_and_leave() -> None:
    decoder = Jump(Oracle(TABLE), 2)
    early, _ = decoder.step(decoder.start(prompts(TABLE, 2), Noise.of([0, 1])))
    late = decoder.start(prompts(TABLE, 2), Noise.of([2, 3]))
    both, _ = decoder.step(join_rows(early, late))
    assert both.ids_BL[:2].tolist() == wanted(TABLE, [0, 1])
    last, step = decoder.step(select_rows(both, torch.tensor([2, 3])))
    assert last.ids_BL.tolist() == wanted(TABLE, [2, 3])
    assert (step.tokens_BC[:, 0] == PAD).all()


def test_vectors_stay_as_they_were_said() -> None:
    _, _, state = images(Jump(Oracle(TABLE, split=1, off=0.05), 2), TABLE)
    assert torch.equal(state.vectors_BLC[:, 0], TABLE.codes_VC[state.ids_BL[:, 0]])
    assert torch.allclose(state.vectors_BLC[:, 1], TABLE.codes_VC[state.ids_BL[:, 1]] + 0.05)


TEACHERS = {
    "table": lambda folder: TABLE,
    "raster": lambda folder: teacher_of(model(folder, RASTER)),
    "scales": lambda folder: teacher_of(model(folder, SCALES, guidance=2.0)),
}


@pytest.mark.parametrize("made", TEACHERS.values(), ids=TEACHERS)
def test_a_teacher_that_settles_all_units_makes_its_own_image(made: Callable[[Any], Any], tmp_path: Any) -> None:
    teacher = made(tmp_path)
    decoder = AssistedJump(Oracle(teacher), teacher, first=0, last=teacher.layout.units)
    said, steps, _ = images(decoder, teacher)
    assert steps == decoder.forwards == teacher.layout.units
    assert said == wanted(teacher)


def test_passes_are_counted_as_in_the_paper(tmp_path: Any) -> None:
    """One to begin, one for each unit of the teacher's, one to end; none to begin where the teacher does."""
    teacher = teacher_of(model(tmp_path, RASTER))
    student = Oracle(teacher, steps=(0, 3))
    for (first, last), passes in {(2, 3): 3, (1, 3): 4, (0, 3): 4, (3, 4): 2, (None, None): 3}.items():
        decoder = AssistedJump(student, teacher, first, last)
        said, steps, _ = images(decoder, teacher, [3, 4])
        assert (steps, decoder.forwards) == (passes, passes)
        assert said == wanted(teacher, [3, 4])


def test_the_teacher_reads_codes(tmp_path: Any) -> None:
    """A student that says vectors beside its codes has them snapped in front of the teacher."""
    teacher = teacher_of(model(tmp_path, RASTER))
    said, _, state = images(AssistedJump(Oracle(teacher, (0, 3), 3, off=0.01), teacher, 3, 4), teacher)
    assert said == wanted(teacher)
    assert torch.equal(state.vectors_BLC, teacher.codes_VC[state.ids_BL])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput, match=r"calls lies in 1 ... 2, got 3"):
        Jump(Oracle(TABLE), 3)
    with pytest.raises(BadInput, match="goes on from last = 1 or 2; got first 1, last 1"):
        AssistedJump(Oracle(TABLE), TABLE, 1, 1)
    with pytest.raises(BadInput, match=r"one of the ids 3 ... 4; the prompts end with \[5\]"):
        Jump(Oracle(TABLE)).start(torch.tensor([[5]]), Noise.of([0]))


def test_a_teacher_of_another_layout_is_refused(tmp_path: Any) -> None:
    with pytest.raises(IncompatibleParts, match="take the student's own teacher"):
        AssistedJump(Oracle(TABLE), teacher_of(model(tmp_path)), 0, 1)


def test_requests_that_began_apart_are_refused_beside_a_teacher() -> None:
    decoder = AssistedJump(Oracle(TABLE), TABLE, 0, 2)
    early, _ = decoder.step(decoder.start(prompts(TABLE, 1), Noise.of([0])))
    late = decoder.start(prompts(TABLE, 1), Noise.of([1]))
    with pytest.raises(IncompatibleParts, match="in one batch"):
        decoder.step(join_rows(early, late))
