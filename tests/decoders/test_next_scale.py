"""A scale a step, of the teacher's own law."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.decoders.generate import generate
from decant.decoders.next_scale import NextScale
from decant.decoders.stopping import Stopping
from decant.distill.images.rule import teacher_of
from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as
from decant.testing.tables import TableTeacher
from decant.types import select_rows
from tests.images.tiny import SCALES, model

TABLE = TableTeacher()


def asked(label: int, count: int, codes: int = 3) -> Tensor:
    return torch.full((count, 1), codes + label)


@pytest.mark.parametrize("label", [0, 1])
def test_the_law_of_whole_images(label: int) -> None:
    """20,000 draws: catches a total variation of 0.03 with power above 0.99; the product of marginals is at 0.5."""
    count = 20_000
    state = NextScale(TABLE).start(asked(label, count), Noise.of(list(range(count))))
    ids = []
    for _ in range(TABLE.layout.units):
        state, step = NextScale(TABLE).step(state)
        ids.append(step.tokens_BC)
    pairs_B2 = torch.cat(ids, dim=1)
    assert_distributed_as(pairs_B2[:, 0] * 3 + pairs_B2[:, 1], TABLE.joint(label).flatten(), "next-scale")
    assert torch.equal(state.vectors_BLC, TABLE.codes_VC[pairs_B2])


def test_a_scale_a_step(tmp_path: Path) -> None:
    teacher = teacher_of(model(tmp_path, SCALES, guidance=1.5))
    decoder, prompt_B1 = NextScale(teacher), torch.tensor([[5], [6], [7], [5]])
    assert decoder.forwards == SCALES.units
    state, first = decoder.step(decoder.start(prompt_B1, Noise.of([1, 2, 3, 4])))
    assert first.positions_BC.tolist() == [[0]] * 4
    _, second = decoder.step(state)
    assert second.positions_BC.tolist() == [[1, 2, 3, 4]] * 4
    turn = generate(decoder, prompt_B1, Noise.of([1, 2, 3, 4]), [Stopping(SCALES.places)] * 4)
    assert turn.steps == SCALES.units
    assert [output.tokens for output in turn.outputs] == torch.cat([first.tokens_BC, second.tokens_BC], 1).tolist()


def test_an_image_does_not_depend_on_its_company(tmp_path: Path) -> None:
    decoder = NextScale(teacher_of(model(tmp_path, SCALES, guidance=1.5)))
    prompt_B1, seeds = torch.tensor([[5], [6], [6], [5]]), [1, 2, 3, 4]
    together = generate(decoder, prompt_B1, Noise.of(seeds), [Stopping(SCALES.places)] * 4).outputs
    alone = generate(decoder, prompt_B1[2:3], Noise.of(seeds[2:3]), [Stopping(SCALES.places)]).outputs
    assert together[2].tokens == alone[0].tokens
    state, _ = decoder.step(decoder.start(prompt_B1, Noise.of(seeds)))
    _, step = decoder.step(select_rows(state, torch.tensor([2])))
    assert step.tokens_BC.tolist() == [alone[0].tokens[1:]]


def test_a_prompt_that_is_no_class_is_refused() -> None:
    with pytest.raises(BadInput, match=r"one of the ids 3 \.\.\. 4, or without one by the id behind them.*\[2\]"):
        NextScale(TABLE).start(torch.tensor([[2]]), Noise.of([0]))


def test_nothing_comes_behind_the_last_scale() -> None:
    state = NextScale(TABLE).start(asked(0, 1), Noise.of([0]))
    for _ in range(2):
        state, _ = NextScale(TABLE).step(state)
    with pytest.raises(BadInput, match="an image has 2 units, and all are settled"):
        NextScale(TABLE).step(state)
