"""A matrix with what follows its product: packed for oneDNN where that pays, plain elsewhere.

oneDNN does what follows (bias, SiLU, product, sum) while the rows are still in registers: three calls for a gated
feed-forward, and no elementwise loop whose tail has other bits.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import linear, silu

from decant.models.linears import packs


class Product(Protocol):
    """x [..., in] -> [..., out]."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def swish(self, x: Tensor) -> Tensor:
        """SiLU of the product."""
        ...

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        """The product, times `y` entry by entry."""
        ...

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        """The product plus `y`, the residual."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """weight: opaque, in oneDNN's layout."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

    def swish(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "swish", [], "")

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "mul")

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise.binary(x, y, self.weight, self.bias, "add")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Plain:
    """weight: [out, in]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def swish(self, x: Tensor) -> Tensor:
        return silu(self(x))

    def times(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x) * y

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x) + y


Make = Callable[[Tensor, Tensor | None], Product]
"""(weight [out, in], bias) -> its product."""


def product(weight: Tensor, bias: Tensor | None) -> Product:
    """weight: [out, in]."""
    weight = weight.detach()
    bias = None if bias is None else bias.detach()
    if packs(weight):
        return Packed(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 16), bias)  # 16 changes no result
    return Plain(weight.contiguous(), bias)
