"""Weights in eight bits: one step an output channel, and one a row of activations, found anew at every call.

Products of eight-bit numbers are summed in 32-bit integers, where order does not matter, and a row's step is its own:
a row keeps its bits whatever stands beside it. Activations travel as unsigned numbers around SHIFT, which is what the
instructions multiply; signed ones take oneDNN's reference loop where there is no AMX (measured: 90 ms for 0.1 ms).
The small calls around a product cost half of the call to oneDNN itself (measured: 11 and 25 us where the matrix is
small), so gate and up are one product.
Source: Dettmers et al. 2022, arXiv:2208.07339 (a step for each row and each column).
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Final, final

import torch
from torch import Tensor
from torch.nn.functional import silu

MOST: Final = torch.tensor(127.0)  # symmetric: -128 stays unused
SHIFT: Final = 128.0
UP: Final = torch.tensor([SHIFT + 0.5])  # cutting what was moved up by a half rounds; float32 makes the quotient so
WHOLE: Final = 64  # columns of SiLU that leave nothing to scalar code (`rows.whole`), so that any row count will do
NO_ZERO: Final = torch.zeros(1, dtype=torch.int32)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Int8:
    """weight: opaque, in oneDNN's layout; step: [out]; unshift: [out], what SHIFT adds to every product, negated."""

    weight: Tensor
    step: Tensor
    unshift: Tensor
    bias: Tensor | None

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None) -> "Int8":
        """weight: [out, in], of any float type."""
        whole, step = in_steps(weight.detach())
        packed = torch.ops.onednn.qlinear_prepack(whole, None)
        return cls(packed, step, whole.sum(1) * step * -SHIFT, None if bias is None else bias.detach())

    def __call__(self, x: Tensor) -> Tensor:
        found, step = self.unscaled(x)
        said = found.mul_(step) if self.bias is None else torch.addcmul(self.bias, found, step)
        return said.to(x.dtype)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        found, step = self.unscaled(x)
        said = torch.addcmul(y, found, step)
        return (said if self.bias is None else said.add_(self.bias)).to(x.dtype)

    def unscaled(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The product without bias, and what each row is still to be multiplied by; both in `kind(x.dtype)`.

        A row of zeros has a step of zero and a quotient that nobody reads; one with NaN or infinity keeps it in the
        step.
        """
        step = torch.linalg.vector_norm(x, torch.inf, -1, keepdim=True, dtype=kind(x.dtype)).div_(MOST)
        whole = torch.addcdiv(UP, x, step).byte()
        found = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 0, self.weight, self.step, NO_ZERO, self.unshift, 1.0, 0, step.dtype, "none", [], ""
        )
        return found, step


@final
@dataclass(frozen=True, slots=True, eq=False)
class Int8Pair:
    """Gate and up, one above the other. loop: of SiLU, for `loops`."""

    both: Int8
    loop: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        found, step = self.both.unscaled(x)
        if self.both.bias is None:
            gate, up = (half * step for half in found.chunk(2, -1))
        else:
            gate, up = (
                torch.addcmul(bias, half, step)
                for bias, half in zip(self.both.bias.chunk(2), found.chunk(2, -1), strict=True)
            )
        return silu(gate, inplace=True).mul_(up).to(x.dtype)

    @property
    def loops(self) -> Set[tuple[int, int]]:
        """SiLU's."""
        return {self.loop}


@final
@dataclass(frozen=True, slots=True)
class InInt8:
    """Every matrix but the embedding in eight bits. dtype: of the activations."""

    dtype: torch.dtype
    whole: ClassVar[int] = WHOLE

    def product(self, weight: Tensor, bias: Tensor | None) -> Int8:
        return Int8.of(weight, bias)

    def gated(self, gate: tuple[Tensor, Tensor | None], up: tuple[Tensor, Tensor | None]) -> Int8Pair:
        biases = [bias for _, bias in (gate, up) if bias is not None]
        both = Int8.of(torch.cat([gate[0], up[0]]), torch.cat(biases) if biases else None)
        return Int8Pair(both, (len(gate[0]), kind(self.dtype).itemsize))


def in_steps(weight: Tensor) -> tuple[Tensor, Tensor]:
    """(weight / step as whole numbers, step [out]), the largest of a row at MOST.

    weight: [out, in]. Steps have the digits of bfloat16, so that their products with whole numbers are exact in
    float32: what was rounded and multiplied out is rounded to the same again.
    """
    weight = weight.float()
    step = (weight.abs().amax(-1) / MOST).clamp_min_(torch.finfo(torch.float32).tiny).bfloat16().float()
    return (weight / step[:, None]).round_().to(torch.int8), step


def kind(dtype: torch.dtype) -> torch.dtype:
    """What products under activations of `dtype` come in."""
    return torch.bfloat16 if dtype == torch.bfloat16 else torch.float32


@cache
def multiplies() -> bool:
    """Whether this machine can: older CPUs cut the sum of two products to 16 bits, which ones at MOST show."""
    try:
        ones = Int8.of(torch.ones(16, 64), None)(torch.ones(1, 64))
    except (RuntimeError, AttributeError):
        return False
    return torch.allclose(ones, torch.full_like(ones, 64.0), rtol=1e-2)
