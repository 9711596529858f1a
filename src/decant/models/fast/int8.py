"""Weights in eight bits: one step an output channel, and one a row of activations, found anew at every call.

Products of eight-bit numbers are summed in 32-bit integers, where order does not matter, and a row's step is its own:
a row keeps its bits whatever stands beside it. Activations travel as unsigned numbers around SHIFT, which is what the
instructions multiply; signed ones take oneDNN's reference loop where there is no AMX (measured: 90 ms for 0.1 ms).
Source: Dettmers et al. 2022, arXiv:2208.07339 (a step for each row and each column).
"""

from dataclasses import dataclass
from functools import cache
from typing import Final, final

import torch
from torch import Tensor
from torch.nn.functional import silu

MOST: Final = 127.0  # symmetric: -128 stays unused
SHIFT: Final = 128.0
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
        share, step = in_steps(weight.detach())
        whole = share.round_().to(torch.int8)
        step = step[:, 0]
        packed = torch.ops.onednn.qlinear_prepack(whole, None)
        return cls(packed, step, whole.sum(1) * step * -SHIFT, None if bias is None else bias.detach())

    def __call__(self, x: Tensor) -> Tensor:
        return self._wide(x).to(x.dtype)

    def swish(self, x: Tensor) -> Tensor:
        return silu(self._wide(x), inplace=True).to(x.dtype)

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self._wide(x).mul_(y).to(x.dtype)

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self._wide(x).add_(y).to(x.dtype)

    def _wide(self, x: Tensor) -> Tensor:
        """The product in float32."""
        share, step = in_steps(x)
        whole = share.add_(SHIFT + 0.5).to(torch.uint8)  # cutting what was moved up by a half rounds
        found = torch.ops.onednn.qlinear_pointwise(
            whole, 1.0, 0, self.weight, self.step, NO_ZERO, self.unshift, 1.0, 0, torch.float32, "none", [], ""
        ).mul_(step)
        return found if self.bias is None else found.add_(self.bias)


def in_steps(x: Tensor) -> tuple[Tensor, Tensor]:
    """(x / step, step [..., 1]), the largest of a row at MOST; in float32, where no quotient rounds beyond it."""
    x = x.float()
    step = (x.abs().amax(-1, keepdim=True) / MOST).clamp_min_(torch.finfo(torch.float32).tiny)
    return x / step, step


@cache
def multiplies() -> bool:
    """Whether this machine can: older CPUs cut the sum of two products to 16 bits, which ones at MOST show."""
    try:
        ones = Int8.of(torch.ones(16, 64), None)(torch.ones(1, 64))
    except (RuntimeError, AttributeError):
        return False
    return torch.allclose(ones, torch.full_like(ones, 64.0), rtol=1e-3)
