"""The law of counted randomness."""

from collections.abc import Callable

import torch
from torch import Tensor

from decant.noise import TARGET, Noise
from decant.testing.chi_square import assert_distributed_as

BINS = 16


def check_noise(make: Callable[[list[int]], Noise] = Noise.of, *, draws: int = 1 << 16) -> None:
    """Uniform, independent along seeds, positions, lanes and streams, and the same whatever the batch.

    Neighbours along one axis are counted in 16 x 16 cells: with 65,536 draws a dependence whose effect (see
    `chi_square`) is 0.008 is caught with power above 0.99.
    """
    _check_counted(make)
    for stream in (TARGET, "accept"):
        for along, u_R in _runs(make, stream, draws).items():
            _check_uniform(u_R, f"{stream} numbers along {along}")
            _check_pairs(u_R[:-1], u_R[1:], f"neighbouring {stream} numbers along {along}")
    here = _runs(make, TARGET, draws)["seeds"]
    there = _runs(make, "accept", draws)["seeds"]
    _check_pairs(here, there, "numbers of two streams")
    _check_draws(make, draws)


def _runs(make: Callable[[list[int]], Noise], stream: str, draws: int) -> dict[str, Tensor]:
    """Numbers along one axis while the others stand still."""
    at_1R, one = torch.arange(draws)[None], make([11])
    positions = one.uniform(at_1R, stream)
    lanes = one.uniform(torch.zeros(1, 1, dtype=torch.int64), stream, at_1R)
    seeds = make(list(range(draws))).uniform(torch.zeros(draws, dtype=torch.int64), stream)
    distant = make([2**64 - 1 - seed * 2**32 for seed in range(draws)])
    far = distant.uniform(torch.ones(draws, dtype=torch.int64), stream)
    return {"positions": positions[0], "lanes": lanes[0], "seeds": seeds, "far seeds": far}


def _check_uniform(u_R: Tensor, what: str) -> None:
    assert u_R.dtype == torch.float64, f"{what} must be float64, so that no two tokens tie"
    assert ((u_R > 0) & (u_R < 1)).all(), f"{what} must lie inside (0, 1): their logarithms are taken"
    assert_distributed_as((u_R * BINS**2).long(), torch.full((BINS**2,), 1 / BINS**2), what)


def _check_pairs(one_R: Tensor, two_R: Tensor, what: str) -> None:
    cells_R = (one_R * BINS).long() * BINS + (two_R * BINS).long()
    assert_distributed_as(cells_R, torch.full((BINS**2,), 1 / BINS**2), what)


def _check_counted(make: Callable[[list[int]], Noise]) -> None:
    """A number depends on its seed, position, stream and lane, and on nothing else."""
    depth_BN = torch.arange(4).expand(3, -1)
    noise = make([7, 8, 9])
    u_BN = noise.uniform(depth_BN, TARGET)
    assert torch.equal(noise.uniform(depth_BN, TARGET), u_BN), "the same question must have the same answer"
    rows_R = torch.tensor([2, 0])
    assert torch.equal(noise.select(rows_R).uniform(depth_BN[rows_R], TARGET), u_BN[rows_R]), "a neighbour changed it"
    assert torch.equal(make([9]).uniform(depth_BN[:1], TARGET), u_BN[2:]), "a number must not depend on the batch"
    joined = make([7]).join(make([8, 9]))
    assert torch.equal(joined.uniform(depth_BN, TARGET), u_BN), "joining must not change a number"

    later = noise.advance(torch.tensor([2, 2, 2]))
    assert torch.equal(later.uniform(depth_BN, TARGET), noise.uniform(depth_BN + 2, TARGET)), (
        "the target's number at a position must not depend on the root from which it is seen"
    )
    assert not (later.uniform(depth_BN, "accept") == noise.uniform(depth_BN + 2, "accept")).any(), (
        "a later round must see fresh numbers on every stream but the target's"
    )


def _check_draws(make: Callable[[list[int]], Noise], draws: int) -> None:
    """A race's winner follows the weights, its first two are two draws without replacement."""
    weights_V = torch.tensor([0.5, 0.0, 1.0, 0.2, 0.3])
    noise, depth_B = make(list(range(draws))), torch.zeros(draws, dtype=torch.int64)
    race_BV = noise.gumbel(weights_V.expand(draws, -1), depth_B)
    drawn_B = noise.draw(weights_V.expand(draws, -1), depth_B)
    assert torch.equal(drawn_B, race_BV.argmax(-1)), "a draw is the winner of the race"
    assert (race_BV[:, 1] == -torch.inf).all(), "a token of weight zero must not run"
    p_V = weights_V / weights_V.sum()
    assert_distributed_as(drawn_B, p_V, "draws")
    first_B, second_B = race_BV.topk(2).indices.T
    two_VV = (p_V[:, None] * p_V / (1 - p_V[:, None])).fill_diagonal_(0.0)
    assert_distributed_as(first_B * len(p_V) + second_B, two_VV.flatten(), "the first two of a race")
