"""The baselines of one-step decoders keep the law of every place and lose how places belong together.

Power: with 20,000 images a law of nine pairs that is off by a total variation of 0.04 is refused all but always.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from decant.decoders.marginal import Marginal
from decant.decoders.truncated_teacher import TruncatedTeacher
from decant.errors import BadInput
from decant.images import marginals
from decant.images.marginals import Marginals
from decant.images.prompts import labels_of, prompt_of
from decant.noise import Noise, sample_seed
from decant.testing.chi_square import assert_distributed_as
from decant.testing.tables import FIRST, TableTeacher

IMAGES = 20_000
TEACHER = TableTeacher()


@pytest.fixture(scope="module")
def table() -> Marginals:
    return Marginals(marginals.estimated(TEACHER, images=2000), TEACHER.codes_VC)


def pairs(decoder: Marginal | TruncatedTeacher, label: int) -> Tensor:
    """first * 3 + second code of many images of a class."""
    prompt_BT = torch.tensor([prompt_of(label, 3)]).expand(IMAGES, -1)
    state = decoder.start(prompt_BT, Noise.of([sample_seed(7, at) for at in range(IMAGES)]))
    state, step = decoder.step(state)
    assert (state.vectors_BLC == TEACHER.codes_VC[step.tokens_BC]).all()
    return step.tokens_BC[:, 0] * 3 + step.tokens_BC[:, 1]


def product(label: int) -> Tensor:
    """Of the marginals of both places."""
    joint_VV = TEACHER.joint(label)
    return (joint_VV.sum(1)[:, None] * joint_VV.sum(0)).flatten()


def test_the_estimated_law_of_a_place_is_its_marginal(table: Marginals) -> None:
    """The first place's law needs no samples; the second's is a mean over 2,000 first codes, within 0.02."""
    joint_YVV = torch.stack([TEACHER.joint(label) for label in (0, 1)])
    assert torch.allclose(table.probs_YLV[:, 0], torch.tensor(FIRST), atol=1e-6)
    assert torch.allclose(table.probs_YLV[:, 1], joint_YVV.sum(1), atol=0.02)
    assert torch.allclose(table.probs_YLV.sum(-1), torch.ones(2, 2), atol=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_one_step_gives_the_product_of_the_marginals(label: int) -> None:
    exact = torch.stack([torch.stack([TEACHER.joint(y).sum(1), TEACHER.joint(y).sum(0)]) for y in (0, 1)])
    drawn_X = pairs(Marginal(Marginals(exact, TEACHER.codes_VC)), label)
    assert_distributed_as(drawn_X, product(label), "one step")
    assert (product(label) - TEACHER.joint(label).flatten()).abs().sum() / 2 > 0.4
    with pytest.raises(AssertionError, match="not the law"):
        assert_distributed_as(drawn_X, product(1 - label), "one step that forgets its class")


def test_a_teacher_that_goes_all_the_way_has_the_joint_law() -> None:
    """`drawn` without a number of units is plain decoding: the joint law, with the draws that a decoder would use."""
    labels_B = torch.zeros(IMAGES, dtype=torch.int64)
    noise = Noise.of([sample_seed(7, at) for at in range(IMAGES)])
    ids_BL = marginals.drawn(TEACHER, labels_B, noise)
    assert_distributed_as(ids_BL[:, 0] * 3 + ids_BL[:, 1], TEACHER.joint(0).flatten(), "the teacher")
    first_BL = marginals.drawn(TEACHER, labels_B, noise, units=1)
    assert (first_BL == ids_BL[:, :1]).all()


def test_a_truncated_teacher_counts_its_units(table: Marginals) -> None:
    cut = TruncatedTeacher(TEACHER, table, units=1)
    assert cut.forwards == 2
    assert_distributed_as(pairs(cut, 0) // 3, torch.tensor(FIRST[0]), "the teacher's unit")
    with pytest.raises(BadInput, match="stops after 0 to 1 units of this teacher's 2, got 2"):
        TruncatedTeacher(TEACHER, table, units=2)


def test_a_table_survives_its_file(table: Marginals, tmp_path: Path) -> None:
    """In bfloat16: a law is off by less than 1 %, and still sums to one."""
    marginals.save(table.probs_YLV, tmp_path)
    read = marginals.read(tmp_path, TEACHER.codes_VC)
    assert torch.allclose(read.probs_YLV, table.probs_YLV, atol=5e-3)
    assert torch.allclose(read.probs_YLV.sum(-1), torch.ones(2, 2), atol=1e-6)
    with pytest.raises(BadInput, match=r"python -m decant\.house\.digits"):
        marginals.read(tmp_path / "nowhere", TEACHER.codes_VC)


def test_a_prompt_is_read_as_it_is_written() -> None:
    assert labels_of(torch.tensor([prompt_of(label, 64) for label in range(10)]), 64).tolist() == list(range(10))
