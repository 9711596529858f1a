"""Counted randomness obeys its law, and the law sees numbers that are not fresh."""

from dataclasses import dataclass

import pytest
import torch

from decant.noise import TARGET, Noise
from decant.testing.laws import check_noise


def test_noise() -> None:
    check_noise()


@dataclass(frozen=True, eq=False)
class Weak:
    """Noise with one weakness."""

    inner: Noise
    weakness: str = ""

    def select(self, rows_R):
        return Weak(self.inner.select(rows_R), self.weakness)

    def join(self, other):
        return Weak(self.inner.join(other.inner), self.weakness)

    def advance(self, tokens_B):
        return Weak(self.inner.advance(tokens_B), self.weakness)

    def uniform(self, depth_BX, stream, lane_BX=0):
        inner = self.inner
        if self.weakness == "reused across positions":
            depth_BX = torch.zeros_like(depth_BX)
        if self.weakness == "reused across lanes":
            lane_BX = torch.zeros_like(lane_BX) if torch.is_tensor(lane_BX) else 0
        if self.weakness == "one stream for all":
            stream = TARGET
        if self.weakness == "seeds of 32 bits":
            inner = Noise(inner.seed_B & (2**32 - 1), inner.root_B)
        u_BX = inner.uniform(depth_BX, stream, lane_BX)
        if self.weakness == "depends on the batch":
            return (u_BX + 0.1 * len(inner.seed_B)) % 1.0
        if self.weakness == "slightly bent":
            return u_BX**1.05
        return u_BX

    def gumbel(self, weights_BXV, depth_BX, stream=TARGET):
        if self.weakness == "one Gumbel number a row":
            u_BX1 = self.uniform(depth_BX, stream)[..., None]
            return (weights_BXV.log() - (-u_BX1.log()).log()).float()
        return self.inner.gumbel(weights_BXV, depth_BX, stream)

    def draw(self, weights_BXV, depth_BX, stream=TARGET):
        return self.gumbel(weights_BXV, depth_BX, stream).argmax(-1)


WEAKNESSES = [
    "reused across positions",
    "reused across lanes",
    "one stream for all",
    "seeds of 32 bits",
    "depends on the batch",
    "slightly bent",
    "one Gumbel number a row",
]


def test_the_wrapper_itself_is_right() -> None:
    check_noise(lambda seeds: Weak(Noise.of(seeds)))


@pytest.mark.parametrize("weakness", WEAKNESSES)
def test_a_planted_bug_is_caught(weakness: str) -> None:
    with pytest.raises(AssertionError):
        check_noise(lambda seeds: Weak(Noise.of(seeds), weakness))
