"""Which places of an answer are masked for a lesson, and what each counts for.

A masking is a pure function of the answers and a generator. `Uniform` is the bound on the likelihood, the others are
states that a decoder visits.
Source: Sahoo et al. 2024, arXiv:2406.07524 (MDLM); Nie et al. 2025, arXiv:2502.09992 (LLaDA); Arriola et al. 2025,
arXiv:2503.09573 (blocks, and ratios between bounds).
"""

from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """masked_BT: places that are hidden. weight_BT: what the nats of each count for, 0 where nothing is learnt.
    counted_B: what a text's weighted nats are divided by."""

    masked_BT: Tensor
    weight_BT: Tensor
    counted_B: Tensor


class Masking(Protocol):
    """How answers are masked."""

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        """answer_BT: true at places that are not given."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Uniform:
    """Every place of an answer alike, at a ratio between `least` and `most` that is spread over the texts of a batch;
    weights of 1 / ratio make the mean an upper bound on the nats of a place where the ratios reach from 0 to 1."""

    least: float = 1e-3
    most: float = 1.0

    def __post_init__(self) -> None:
        _bounds(self.least, self.most)

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        ratio_B1 = _ratios(len(answer_BT), self.least, self.most, chance)
        masked_BT = answer_BT & (torch.rand(answer_BT.shape, generator=chance) < ratio_B1)
        return Masked(masked_BT, masked_BT / ratio_B1, answer_BT.sum(-1))


@final
@dataclass(frozen=True, slots=True)
class Blocks:
    """As a decoder that settles block after block sees an answer: those in front of one block are clean, those behind
    are masked and teach nothing, the block itself is masked at a ratio as in `Uniform`. first places of a text count
    from its answer's first."""

    block: int = 32
    least: float = 0.1
    most: float = 1.0

    def __post_init__(self) -> None:
        _bounds(self.least, self.most)
        if self.block < 1:
            raise BadInput(f"a block has at least one place, not {self.block}")

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        ratio_B1 = _ratios(len(answer_BT), self.least, self.most, chance)
        number_BT = (answer_BT.cumsum(-1) - 1).div(self.block, rounding_mode="floor")
        blocks_B = number_BT.masked_fill(~answer_BT, -1).amax(-1) + 1
        active_B1 = (torch.rand(len(answer_BT), generator=chance) * blocks_B).long()[:, None]
        inside_BT = answer_BT & (number_BT == active_B1)
        hidden_BT = inside_BT & (torch.rand(answer_BT.shape, generator=chance) < ratio_B1)
        behind_BT = answer_BT & (number_BT > active_B1)
        return Masked(hidden_BT | behind_BT, hidden_BT / ratio_B1, inside_BT.sum(-1))


@final
@dataclass(frozen=True, slots=True)
class EachBlock:
    """As a model that reads block by block sees an answer, all its blocks at once: a share `rest` of them is masked
    from some place on, as a decoder that goes from left to right sees it, the others at a ratio that each has of its
    own."""

    block: int
    rest: float = 0.5

    def __post_init__(self) -> None:
        if self.block < 1 or not 0 <= self.rest <= 1:
            raise BadInput(f"a block has at least one place and rest is a share, not {self.block} and {self.rest:g}")

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        number_BT = (answer_BT.cumsum(-1) - 1).clamp_min(0)
        block_BT, within_BT = number_BT.div(self.block, rounding_mode="floor"), number_BT % self.block
        texts, blocks = len(answer_BT), int(block_BT.max()) + 1
        from_left_BK = torch.rand(texts, blocks, generator=chance) < self.rest
        ratio_BK = torch.rand(texts, blocks, generator=chance)
        from_BT = within_BT >= (ratio_BK.gather(1, block_BT) * self.block).long()
        some_BT = torch.rand(answer_BT.shape, generator=chance) < ratio_BK.gather(1, block_BT)
        masked_BT = answer_BT & from_BT.where(from_left_BK.gather(1, block_BT), some_BT)
        return Masked(masked_BT, masked_BT.float(), masked_BT.sum(-1))


@final
@dataclass(frozen=True, slots=True)
class Either:
    """One masking or another, text by text: the second for a `share` of them."""

    one: Masking
    other: Masking
    share: float = 0.5

    def __call__(self, answer_BT: Tensor, chance: torch.Generator) -> Masked:
        second_B = torch.rand(len(answer_BT), generator=chance) < self.share
        one, two = self.one(answer_BT, chance), self.other(answer_BT, chance)
        second_B1 = second_B[:, None]
        return Masked(
            two.masked_BT.where(second_B1, one.masked_BT),
            two.weight_BT.where(second_B1, one.weight_BT),
            two.counted_B.where(second_B, one.counted_B),
        )


def _ratios(texts: int, least: float, most: float, chance: torch.Generator) -> Tensor:
    """ratio_B1: one a text, spread evenly from a common random start, in random order."""
    start = torch.rand((), generator=chance)
    spread_B = (torch.randperm(texts, generator=chance) + start) / texts
    return (least + (most - least) * spread_B)[:, None]


def _bounds(least: float, most: float) -> None:
    if not 0 < least <= most <= 1:
        raise BadInput(f"ratios of masked places lie above 0 and at most at 1, not between {least:g} and {most:g}")
