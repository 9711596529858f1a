"""A matrix with what follows its product: packed for oneDNN where that pays, plain elsewhere.

oneDNN adds what follows, bias and residual, while the rows are still in registers.
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import ClassVar, Protocol, final

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear, silu

from decant.models.linears import packs


class Product(Protocol):
    """x [..., in] -> [..., out]."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        """The product plus `y`, the residual."""
        ...


class Gated(Protocol):
    """x [..., in] -> [..., inner]: SiLU of one product, times another; or what a model has in its place."""

    def __call__(self, x: Tensor) -> Tensor: ...

    @property
    def loops(self) -> Set[tuple[int, int]]:
        """(values a row, bytes a value) of its elementwise loops over exp, for `rows.whole`."""
        ...


class Layout(Protocol):
    """How the weights of a model lie in memory.

    whole: what goes from `gated` to the product behind it is filled up with zeros to a multiple of so many columns.
    """

    whole: ClassVar[int]

    def product(self, weight: Tensor, bias: Tensor | None) -> Product:
        """weight: [out, in]."""
        ...

    def gated(self, gate: tuple[Tensor, Tensor | None], up: tuple[Tensor, Tensor | None]) -> Gated:
        """Of two weights [inner, in], each with its bias."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """weight: opaque, in oneDNN's layout."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")

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

    def plus(self, x: Tensor, y: Tensor) -> Tensor:
        return self(x) + y


Dense = Packed | Plain


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Gate and up, one above the other: one call. inner: columns of each."""

    both: Dense
    inner: int

    def __call__(self, x: Tensor) -> Tensor:
        found = self.both(x)
        return silu(found[..., : self.inner]).mul_(found[..., self.inner :])

    @property
    def loops(self) -> Set[tuple[int, int]]:
        """SiLU's."""
        return {(self.inner, self.both.weight.itemsize)}


@final
@dataclass(frozen=True, slots=True, eq=False)
class Ungated:
    """GELU of one product, in its approximation by tanh. loop: of it, for `loops`."""

    up: Product
    loop: tuple[int, int]

    def __call__(self, x: Tensor) -> Tensor:
        return gelu(self.up(x), approximate="tanh")

    @property
    def loops(self) -> Set[tuple[int, int]]:
        """GELU's."""
        return {self.loop}


@final
@dataclass(frozen=True, slots=True)
class AsStored:
    """Weights in their own type. Without a tail that no vector holds, SiLU gives a row the same bits in any company."""

    whole: ClassVar[int] = 64

    def product(self, weight: Tensor, bias: Tensor | None) -> Dense:
        weight = weight.detach()
        bias = None if bias is None else bias.detach()
        if packs(weight):
            return Packed(torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), 16), bias)  # 16: see linears.py
        return Plain(weight.contiguous(), bias)

    def gated(self, gate: tuple[Tensor, Tensor | None], up: tuple[Tensor, Tensor | None]) -> Pair:
        biases = [bias for _, bias in (gate, up) if bias is not None]
        both = self.product(torch.cat([gate[0], up[0]]), torch.cat(biases) if biases else None)
        return Pair(both, len(gate[0]))
