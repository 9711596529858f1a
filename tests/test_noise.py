"""Counted randomness: the numbers themselves, so that another machine, or a later version, cannot quietly differ."""

import pytest
import torch

from decant.noise import TARGET, Noise, sample_seed

SEEDS = [0, 7, 2**64 - 1]


def test_the_numbers_are_these() -> None:
    noise = Noise.of(SEEDS)
    target_B = noise.uniform(torch.tensor([0, 1, 2]), TARGET, torch.tensor([0, 5, 9]))
    accept_B = noise.advance(torch.tensor([3, 0, 1])).uniform(torch.tensor([0, 1, 2]), "accept")
    assert target_B.tolist() == [0.48224039745451674, 0.27543007023831756, 0.3858034485573184]
    assert accept_B.tolist() == [0.16511234819863974, 0.5703846950296049, 0.004603736105288525]


def test_the_draws_are_these() -> None:
    weights_V = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    drawn_BN = Noise.of(SEEDS).draw(weights_V.expand(3, 12, -1), torch.arange(12).expand(3, -1))
    assert drawn_BN.tolist() == [
        [1, 3, 3, 4, 0, 4, 2, 0, 3, 0, 0, 3],
        [3, 0, 1, 4, 4, 3, 4, 4, 0, 4, 4, 2],
        [1, 1, 2, 1, 4, 4, 4, 2, 4, 2, 1, 4],
    ]


@pytest.mark.parametrize("seed", [0, 1, 2**63 - 1, 2**63, 2**64 - 1, -1])
def test_any_64_bit_seed_will_do(seed: int) -> None:
    u_B = Noise.of([seed]).uniform(torch.tensor([0]), TARGET)
    assert 0 < float(u_B) < 1


def test_seeds_count_modulo_two_to_the_64() -> None:
    at_B = torch.tensor([0])
    assert torch.equal(Noise.of([-1]).uniform(at_B, TARGET), Noise.of([2**64 - 1]).uniform(at_B, TARGET))


def test_sample_zero_is_the_request_itself() -> None:
    assert sample_seed(5, 0) == 5
    assert sample_seed(5, 1) == 2950057850425018533
    assert len({sample_seed(seed, index) for seed in range(4) for index in range(1, 9)}) == 32


def test_weights_need_not_sum_to_one() -> None:
    noise, at_B = Noise.of([3]), torch.tensor([0])
    weights_BV = torch.tensor([[0.1, 0.2, 0.3]])
    assert torch.equal(noise.draw(weights_BV, at_B), noise.draw(8 * weights_BV, at_B))


def test_a_row_without_weight_gives_zero() -> None:
    assert Noise.of([3]).draw(torch.zeros(1, 4), torch.tensor([0])).tolist() == [0]


def test_a_certain_token_is_drawn_whatever_the_number() -> None:
    noise = Noise.of(list(range(50)))
    weights_BV = torch.nn.functional.one_hot(torch.arange(50) % 4, 4).float()
    assert torch.equal(noise.draw(weights_BV, torch.zeros(50, dtype=torch.int64)), torch.arange(50) % 4)


def test_extreme_weights_stay_finite() -> None:
    race_BV = Noise.of([1]).gumbel(torch.tensor([[1e-38, 1.0, 3e38]]), torch.tensor([0]))
    assert race_BV.isfinite().all()
    assert race_BV.dtype == torch.float32


def test_a_tree_of_depths_and_a_lane_broadcast() -> None:
    noise = Noise.of([1, 2])
    depth_BN = torch.tensor([[0, 1, 1], [0, 1, 2]])
    u_BNK = noise.uniform(depth_BN[..., None], TARGET, torch.arange(4))
    assert u_BNK.shape == (2, 3, 4)
    assert torch.equal(u_BNK[1, 2, 3:], noise.select(torch.tensor([1])).uniform(torch.tensor([2]), TARGET, 3))
