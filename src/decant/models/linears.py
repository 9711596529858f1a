"""Matrix products whose rows keep their bits however many there are, and that run faster for it.

`F.linear` picks its kernel by the number of rows, so the bits of a row change with the rows beside it. Two remedies,
chosen by the size of the weight alone, so that every process chooses alike: a large weight is packed in the layout
that oneDNN wants (one layout, one order of summation, and fewer cache misses); for a small one that call costs more
than the product, so it stays as it is and too few rows are filled up to a number that shares bits with all larger
ones. What each costs is in docs/journal.md.
"""

from dataclasses import dataclass
from functools import cache
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

PACK = 2**17  # float32 weights; below, the call to oneDNN costs more than it saves (measured: 15 to 45 us a call)
COMPARED = 20  # row counts that are compared: kernels have tails of their own


@final
@dataclass(slots=True)
class Filling:
    """Whether too few rows are filled up: one switch for all linears of a network, set before each forward."""

    on: bool = False


@final
class PackedLinear(nn.Module):
    """`nn.Linear` over a packed weight; for inference only, and not deep-copyable (the tensor is opaque)."""

    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = plain.bias
        # The batch hint (16) makes no difference to results.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(plain.weight.detach(), 16)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    @property
    def weight(self) -> Tensor:
        """The plain weight, unpacked anew at every call."""
        return self.packed.to_dense()


@final
class FilledLinear(nn.Module):
    """`nn.Linear` that never sees fewer than `least` rows while `filling` is on."""

    def __init__(self, plain: nn.Linear, least: int, filling: Filling) -> None:
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.weight, self.bias = plain.weight, plain.bias
        self.least, self.filling = least, filling

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        rows = x.numel() // self.in_features
        if rows >= self.least or not self.filling.on:
            return linear(x, self.weight, self.bias)
        flat = pad(x.reshape(rows, self.in_features), (0, 0, 0, self.least - rows))
        return linear(flat, self.weight, self.bias)[:rows].reshape(*x.shape[:-1], self.out_features)


def packs(weight: Tensor) -> bool:
    """Whether a weight is packed: in float32 from PACK on, in bfloat16 always, where this machine can at all."""
    large = weight.numel() >= PACK or weight.dtype != torch.float32
    return large and weight.device.type == "cpu" and packable(weight.dtype)


@cache
def packable(dtype: torch.dtype) -> bool:
    """Whether this machine packs weights of `dtype`; oneDNN refuses bfloat16 on CPUs without instructions for it."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        probe = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), 16)
        torch.ops.mkldnn._linear_pointwise(torch.zeros(1, 16, dtype=dtype), probe, None, "none", [], "")
    except (RuntimeError, AttributeError):
        return False
    return True


def steady(network: nn.Module) -> tuple[int, Filling]:
    """Replace the linears of `network` in place where that makes rows keep their bits.

    Returns how many were packed, and the switch of those that were not.

    A packed weight's plain copy is dropped. Tied weights: the head is packed, the embedding keeps its own copy.
    """
    weight = next(network.parameters())
    if weight.device.type != "cpu":
        return 0, Filling()
    known: dict[tuple[int, int], int] = {}
    packed, filling = 0, Filling()
    with torch.inference_mode():
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is not nn.Linear:
                    continue
                if packs(child.weight):
                    setattr(parent, name, PackedLinear(child))
                    packed += 1
                    continue
                shape = (child.in_features, child.out_features)
                known[shape] = least = known.get(shape) or least_rows(child)
                if least > 1:
                    setattr(parent, name, FilledLinear(child, least, filling))
    return packed, filling


def least_rows(plain: nn.Linear) -> int:
    """The smallest number of rows from which on every number, up to COMPARED, gives a row the same bits.

    Which kernel runs depends on the shape alone, so the weight compared is our own: its halves cancel against the
    inputs', and the order of summation decides what is left, in bfloat16 too, where rounding hides most differences.
    """
    rng = torch.Generator().manual_seed(0)
    dtype, half = plain.weight.dtype, plain.in_features // 2
    rows, weight = torch.randn(COMPARED, half, generator=rng), torch.randn(plain.out_features, half, generator=rng)
    small = 2.0**-12 * torch.randn(COMPARED, plain.in_features, generator=rng)
    rest = plain.in_features - 2 * half
    rows = (pad(torch.cat([rows, -rows], 1), (0, rest)) + small).to(dtype)
    weight = pad(torch.cat([weight, weight], 1), (0, rest)).to(dtype)
    reference = linear(rows, weight, plain.bias)
    counts = range(COMPARED, 0, -1)
    same = (torch.equal(linear(rows[:count], weight, plain.bias), reference[:count]) for count in counts)
    return next((COMPARED - at + 1 for at, equal in enumerate(same) if not equal), 1)
