"""Which places are hidden, how often, and what each counts for."""

from math import comb

import pytest
import torch
from torch import Tensor

from decant.distill.diffusion.masking import Blocks, EachBlock, Either, Masked, Uniform
from decant.errors import BadInput
from decant.testing.chi_square import assert_distributed_as, power

ANSWER_BT = torch.tensor([[False, True, True, True, True], [False, False, True, True, False]])


def drawn(masking, answer_BT: Tensor, times: int, seed: int = 0) -> list[Masked]:
    chance = torch.Generator().manual_seed(seed)
    return [masking(answer_BT, chance) for _ in range(times)]


def test_given_places_are_never_hidden_and_hidden_ones_alone_count() -> None:
    for masking in (Uniform(), Blocks(2), EachBlock(2), Either(Uniform(), Blocks(2))):
        for found in drawn(masking, ANSWER_BT, 50):
            assert not (found.masked_BT & ~ANSWER_BT).any()
            assert not found.weight_BT[~found.masked_BT].any()


def test_at_a_ratio_of_one_everything_is_hidden_and_counts_once() -> None:
    (found,) = drawn(Uniform(1.0, 1.0), ANSWER_BT, 1)
    assert found.masked_BT.equal(ANSWER_BT)
    assert found.weight_BT.equal(ANSWER_BT.float())
    assert found.counted_B.tolist() == [4, 2]


def test_a_set_of_hidden_places_is_as_likely_as_its_integral_over_ratios() -> None:
    """Of n places each set of l has the integral of t^l (1 - t)^(n - l), which is 1 / ((n + 1) C(n, l)).

    Planted: a ratio that is always 1/2. 8,000 draws catch it with power above 0.99.
    """
    places = torch.ones(4, 4, dtype=torch.bool)
    digits = 2 ** torch.arange(4)
    law_S = torch.tensor([1 / (5 * comb(4, bin(number).count("1"))) for number in range(16)])
    found = [(one.masked_BT * digits).sum(-1) for one in drawn(Uniform(1e-9), places, 2000)]
    assert_distributed_as(torch.cat(found), law_S, "sets of hidden places")
    effect = float(((1 / 16 - law_S) ** 2 / law_S).sum())
    assert power(effect, 8000, 15) > 0.99
    half = [(one.masked_BT * digits).sum(-1) for one in drawn(Uniform(0.5, 0.5), places, 2000)]
    with pytest.raises(AssertionError, match="not the law"):
        assert_distributed_as(torch.cat(half), law_S, "sets of hidden places")


def test_weights_make_every_place_count_once_on_the_average() -> None:
    """A weight is 1 / ratio, drawn with that ratio: its mean is 1, its variance the mean of 1 / ratio - 1, here 5.9;
    20,000 draws are within 0.11 of 1 with six standard errors."""
    places = torch.ones(100, 4, dtype=torch.bool)
    for masking in (Uniform(1e-3), Blocks(4, least=1e-3)):
        weight_RT = torch.cat([found.weight_BT for found in drawn(masking, places, 200)])
        assert (weight_RT.mean(0) - 1).abs().max() < 0.12


def test_ratios_are_spread_over_the_texts_of_a_batch() -> None:
    """A text of a thousand places tells its ratio to 0.1; eight texts have one in each eighth."""
    places = torch.ones(8, 4000, dtype=torch.bool)
    for found in drawn(Uniform(1e-9), places, 5):
        ratio_B = found.masked_BT.float().mean(-1).sort().values
        assert ((ratio_B - (torch.arange(8) + 0.5) / 8).abs() < 0.0625 + 0.04).all()


def test_blocks_are_clean_in_front_and_hidden_behind() -> None:
    answer_BT = torch.ones(3, 11, dtype=torch.bool)
    answer_BT[:, :2] = False
    answer_BT[2, 7:] = False
    seen = []
    for found in drawn(Blocks(4, least=0.5), answer_BT, 400):
        for row in range(3):
            places = answer_BT[row].nonzero()[:, 0]
            wholly = found.masked_BT[row, places].tolist()
            taught = (found.weight_BT[row, places] > 0).tolist()
            blocks = [range(first, min(first + 4, len(places))) for first in range(0, len(places), 4)]
            sizes = [len(block) for block in blocks]
            active = [number for number, block in enumerate(blocks) if any(taught[at] for at in block)]
            assert len(active) <= 1
            if active:
                (number,) = active
                assert not any(wholly[: blocks[number].start])
                assert all(wholly[blocks[number].stop :])
                assert int(found.counted_B[row]) == sizes[number]
                seen.append((row == 2, number))
    counts = {key: seen.count(key) for key in set(seen)}
    assert set(counts) == {(False, 0), (False, 1), (False, 2), (True, 0), (True, 1)}
    assert max(counts.values()) < 2.2 * min(counts.values()), "every block is drawn about as often"


def test_each_block_is_masked_on_its_own() -> None:
    """From some place on, each first place alike; or at a ratio, each number of masks alike."""
    answer_BT = torch.ones(200, 12, dtype=torch.bool)
    answer_BT[:, :3] = False
    answer_BT[:, 11:] = False
    (left,) = drawn(EachBlock(4, rest=1.0), answer_BT, 1)
    masks = left.masked_BT[:, 3:11].reshape(-1, 4)
    assert (masks.int().diff(dim=-1) >= 0).all(), "what is masked is at the end"
    counts = masks.sum(-1).bincount(minlength=5).float() / len(masks)
    assert counts[0] == 0
    assert ((counts[1:] - 0.25).abs() < 0.11).all(), "five standard deviations of a share of 400"
    (some,) = drawn(EachBlock(4, rest=0.0), answer_BT, 1)
    counts = some.masked_BT[:, 3:11].reshape(-1, 4).sum(-1).bincount(minlength=5).float() / len(masks)
    assert ((counts - 0.2).abs() < 0.1).all()
    assert not some.masked_BT[:, 3:7].sum(-1).equal(some.masked_BT[:, 7:11].sum(-1)), "blocks do not share a ratio"


def test_either_is_one_or_the_other_text_by_text() -> None:
    places = torch.ones(40, 6, dtype=torch.bool)
    (found,) = drawn(Either(Uniform(1.0, 1.0), Blocks(2, 1.0, 1.0), share=0.25), places, 1)
    seconds = sum(count == 2 for count in found.counted_B.tolist())
    assert 3 <= seconds <= 18
    (ones,) = drawn(Either(Uniform(1.0, 1.0), Blocks(2, 1.0, 1.0), share=0.0), places, 1)
    assert ones.counted_B.unique().tolist() == [6]


@pytest.mark.parametrize("ratios", [(0.0, 1.0), (0.6, 0.5), (0.5, 1.1)])
def test_ratios_that_make_no_sense_are_refused(ratios: tuple[float, float]) -> None:
    with pytest.raises(BadInput, match="ratios of masked places lie above 0"):
        Uniform(*ratios)
    with pytest.raises(BadInput, match="ratios of masked places lie above 0"):
        Blocks(4, *ratios)
    with pytest.raises(BadInput, match="a block has at least one place"):
        Blocks(0)
    with pytest.raises(BadInput, match="rest is a share, not 4 and"):
        EachBlock(4, 1.5)
