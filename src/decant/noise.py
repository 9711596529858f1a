"""Counted randomness: every random number is a hash of where it is used, never a turn of a hidden wheel.

A number depends on (request seed, output position, stream, lane) and on nothing else: not on the batch, the device, the
process, the drafter or what was drawn before. So the same seed gives the same text whatever the drafter, and a proof
by equality works at every temperature.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from typing import final

import torch
from torch import Tensor

LIKELY = 64
"""Ids of a row that a guess may be, where it is drawn with the target's numbers: Gumbel numbers are dear (3 ms for 8
rows of 4,096 on a CPU), and behind these there is little left to win."""

TARGET = "target"
"""The target's own draws. Their key leaves out the root, so that a coupled drafter, which guesses several positions
ahead, sees the very numbers that the target will use there."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """The random numbers of a batch of requests.

    seed_B: one int64 seed a request.
    root_B: output position of the next token, counted from 0 at the first generated token.
    """

    seed_B: Tensor
    root_B: Tensor

    @classmethod
    def of(cls, seeds: list[int], device: torch.device | str = "cpu") -> "Noise":
        """Noise at output position 0."""
        seed_B = torch.tensor([_signed(seed) for seed in seeds], dtype=torch.int64, device=device)
        return cls(seed_B, torch.zeros_like(seed_B))

    def advance(self, tokens_B: Tensor) -> "Noise":
        """The noise after `tokens_B` more tokens."""
        return replace(self, root_B=self.root_B + tokens_B)

    def uniform(self, depth_BX: Tensor, stream: str, lane_BX: Tensor | int = 0) -> Tensor:
        """Numbers in (0, 1), float64, at `depth_BX` tokens beyond the root; broadcasts depth against lane.

        lane: what else tells two numbers apart: a token id, a child's rank, a diffusion step.
        """
        shape = [-1] + [1] * (depth_BX.dim() - 1)
        seed, root = self.seed_B.view(shape), self.root_B.view(shape)
        key = _mix(seed ^ _stream_key(stream))
        key = _mix(key + (root + depth_BX))
        if stream != TARGET:
            key = _mix(key + root)  # a later round guesses the same position afresh
        # 52 bits, centred: the sum is exact in float64, so that neither 0 nor 1 can come out.
        return (_shift(_mix(key + lane_BX), 12).double() + 0.5) * 2.0**-52

    def gumbel(self, weights_BXV: Tensor, depth_BX: Tensor, stream: str = TARGET) -> Tensor:
        """log(weights) + G, float32: its largest entry along V is a draw, its k largest are k draws without
        replacement. G is one Gumbel number a token id; it is computed only where the weight is positive, and left out
        where no row has more than one such entry.

        weights_BXV: non-negative, need not sum to one.
        """
        if _certain(weights_BXV):
            return weights_BXV.log()
        at = (weights_BXV > 0).nonzero(as_tuple=True)  # sync: Gumbel numbers are dear
        picked = Noise(self.seed_B[at[0]], self.root_B[at[0]])
        u = picked.uniform(depth_BX.expand(weights_BXV.shape[:-1])[at[:-1]], stream, at[-1])
        # float64 logarithms, rounded once: their last bit may differ between machines, the rounded number does not
        # (but for one case in about 10^8).
        race = (weights_BXV[at].double().log() - (-u.log()).log()).float()
        return torch.full_like(weights_BXV, -torch.inf, dtype=torch.float32).index_put(at, race)

    def draw(self, weights_BXV: Tensor, depth_BX: Tensor, stream: str = TARGET) -> Tensor:
        """One id per row, int64, in proportion to `weights_BXV`: the winner of an exponential race.

        A row without any positive weight gives 0.
        Source: Gumbel-max; Maddison et al. 2014, arXiv:1411.0030.
        """
        if _certain(weights_BXV):
            return weights_BXV.argmax(-1)
        return self.gumbel(weights_BXV, depth_BX, stream).argmax(-1)

    def select(self, rows_R: Tensor) -> "Noise":
        """The requests `rows_R`."""
        return Noise(self.seed_B[rows_R], self.root_B[rows_R])

    def join(self, other: "Noise") -> "Noise":
        """These requests, then the other's."""
        return Noise(torch.cat([self.seed_B, other.seed_B]), torch.cat([self.root_B, other.root_B]))


def sample_seed(seed: int, index: int) -> int:
    """The seed of sample `index` of a request; index 0 is the request itself."""
    return seed if index == 0 else int.from_bytes(hashlib.sha256(f"{seed}:{index}".encode()).digest()[:8], "little")


def _certain(weights_BXV: Tensor) -> bool:
    """Whether nothing is left to chance, as behind a greedy warp; on a CPU only, where looking costs little."""
    on_cpu = weights_BXV.device.type == "cpu" and weights_BXV.shape[:-1].numel() > 0
    return on_cpu and bool((weights_BXV > 0).sum(-1).eq(1).all())


@cache
def _stream_key(stream: str) -> int:
    return _signed(int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little"))


def _signed(number: int) -> int:
    """The low 64 bits, as two's complement."""
    number &= 2**64 - 1
    return number - 2**64 if number >= 2**63 else number


def _shift(x: Tensor, by: int) -> Tensor:
    """Logical right shift: torch's `>>` keeps the sign."""
    return (x >> by) & (2 ** (64 - by) - 1)


def _mix(x: Tensor) -> Tensor:
    """The SplitMix64 finaliser over a Weyl step; int64 products wrap, which is what is wanted.

    Source: Steele, Lea and Flood 2014, doi:10.1145/2660193.2660195.
    """
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift(x, 31)
