"""Weights in the layout that oneDNN wants: faster, and with the same bits for every row count.

`F.linear` picks its kernel by the number of rows and by the layout it meets, so the bits of a row change with the
rows beside it. A packed weight has one layout; what it costs and which row counts share bits is in docs/journal.md.
"""

from typing import final

import torch
from torch import Tensor, nn


@final
class PackedLinear(nn.Module):
    """`nn.Linear` over a packed weight; for inference only, and not deep-copyable (the tensor is opaque)."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        # The batch hint (16) makes no difference to results.
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), 16)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] -> [..., out]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    @property
    def weight(self) -> Tensor:
        """The plain weight, unpacked anew at every call."""
        return self.packed.to_dense()


def packable(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether this machine packs weights of `dtype`; oneDNN refuses bfloat16 on CPUs without instructions for it."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    try:
        probe = torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype), 16)
        torch.ops.mkldnn._linear_pointwise(torch.zeros(1, 16, dtype=dtype), probe, None, "none", [], "")
    except (RuntimeError, AttributeError):
        return False
    return True


def pack(network: nn.Module) -> int:
    """Pack every `nn.Linear` of `network` in place and drop the plain weights; returns how many.

    Tied weights: the head is packed, the embedding keeps its own copy.
    """
    count = 0
    with torch.inference_mode():
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:
                    setattr(parent, name, PackedLinear(child))
                    count += 1
    return count
