"""Weights in four bits: a step and a middle for every GROUP weights of an output channel; activations in bfloat16.

A third of bfloat16's bytes. Sixteen levels cannot hold everything: each group gives up the ends of its range where
that costs less squared error (SHRINKS). torch multiplies the groups out while it reads them, which is cheap for a lone
row and dear for many: from eight rows on eight bits are faster. A row keeps its bits among any number of rows (measured
on inputs whose halves cancel: 1 to 64 rows, one and two threads). Under float32 the same product takes torch's
reference loop (measured: 60 ms a token for 3.5), so whatever comes in is multiplied in bfloat16.
Sources: Shen et al. 2020, arXiv:1909.05840 (groups); Choukroun et al. 2019, arXiv:1902.06822 (the least squared error).
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import silu

from decant.models.fast.int8 import WHOLE
from decant.models.fast.products import AsStored, Gated, Product

GROUP: Final = 32  # 64 saves a tenth of the bytes, no time, and unlearns as much; but fewer matrices fit
OUTS: Final = 16  # output channels of a block
LEVELS, MIDDLE = 15, 8
SHRINKS: Final = (1.0, 0.95, 0.9)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Int4:
    """weight: opaque; steps: [in / GROUP, out, 2], a step and a middle in bfloat16."""

    weight: Tensor
    steps: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "Int4":
        """weight: [out, in] that `fits`."""
        whole, steps = in_groups(weight.detach())
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(whole, 1)
        return cls(packed, steps, None if bias is None else bias.detach())

    def __call__(self, x: Tensor) -> Tensor:
        return self.narrow(x).to(x.dtype)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x).add_(y)

    def narrow(self, x: Tensor) -> Tensor:
        """The product in bfloat16."""
        flat = x.reshape(-1, x.shape[-1]).bfloat16()
        found = torch.ops.aten._weight_int4pack_mm_for_cpu(flat, self.weight, GROUP, self.steps)
        return (found if self.bias is None else found.add_(self.bias)).view(*x.shape[:-1], -1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Int4Pair:
    """Gate and up in four bits."""

    gate: Int4
    up: Int4

    def __call__(self, x: Tensor) -> Tensor:
        return silu(self.gate.narrow(x), inplace=True).mul_(self.up.narrow(x)).to(x.dtype)

    @property
    def loops(self) -> Set[tuple[int, int]]:
        """SiLU's."""
        return {(self.gate.steps.shape[1], self.gate.steps.itemsize)}


@final
@dataclass(frozen=True, slots=True)
class InInt4:
    """Matrices that `fits`; others stay as stored."""

    whole: ClassVar[int] = WHOLE

    def product(self, weight: Tensor, bias: Tensor | None) -> Product:
        return Int4.of(weight, bias) if fits(weight) else AsStored().product(weight, bias)

    def gated(self, gate: tuple[Tensor, Tensor | None], up: tuple[Tensor, Tensor | None]) -> Gated:
        if not fits(gate[0]):
            return AsStored().gated(gate, up)
        return Int4Pair(Int4.of(*gate), Int4.of(*up))


def fits(weight: Tensor) -> bool:
    """Whether a weight [out, in] is whole groups and whole blocks."""
    return weight.shape[0] % OUTS == 0 and weight.shape[1] % GROUP == 0


def in_groups(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(levels 0 to 15 [out, in], a step and a middle of each group [in / GROUP, out, 2] in bfloat16).

    weight: [out, in], about (level - MIDDLE) x step + middle.
    """
    parts = weight.float().unflatten(1, (-1, GROUP))
    low, high = parts.aminmax(dim=-1, keepdim=True)
    least = torch.full_like(low, torch.inf)
    best = torch.zeros_like(parts), low, high
    for shrink in SHRINKS:
        # bfloat16: whatever the activations' type, it is the same model
        step = ((high - low) * (shrink / LEVELS)).clamp_min_(torch.finfo(torch.float32).tiny).bfloat16().float()
        middle = (low * shrink + MIDDLE * step).bfloat16().float()
        level = ((parts - middle) / step + MIDDLE).round_().clamp_(0, LEVELS)
        error = torch.addcmul(middle - MIDDLE * step, level, step).sub_(parts).square_().sum(-1, keepdim=True)
        better = error < least
        least = torch.where(better, error, least)
        best = tuple(torch.where(better, new, old) for new, old in zip((level, step, middle), best, strict=True))
    level, step, middle = best
    return level.flatten(1).int(), torch.cat([step, middle], -1).transpose(0, 1).bfloat16().contiguous()


@cache
def unpacks() -> bool:
    """Whether this torch can: the product of ones tells."""
    try:
        ones = Int4.of(torch.ones(OUTS, GROUP), None)(torch.ones(1, GROUP))
    except (RuntimeError, AttributeError):
        return False
    return torch.allclose(ones, torch.full_like(ones, GROUP), rtol=1e-2)
