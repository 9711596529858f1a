"""The few numerical moves that several methods share."""

import torch
from torch import Tensor

from decant.types import PAD


def take(values_XV: Tensor, ids_X: Tensor) -> Tensor:
    """values_XV[..., ids_X]: the entry of each row at that row's id; 0 where the id is PAD."""
    real_X = ids_X != PAD
    return values_XV.gather(-1, ids_X.clamp_min(0)[..., None]).squeeze(-1).where(real_X, 0)


def append(rows_BT: Tensor, new_BC: Tensor) -> Tensor:
    """Concatenate two right-padded batches row by row, keeping the result right-padded with PAD."""
    joined_BT = torch.cat([rows_BT, new_BC], dim=1)
    padding_BT = joined_BT == PAD
    # A stable sort on "is padding" slides real entries left without reordering them.
    order_BT = padding_BT.long().argsort(dim=1, stable=True)
    width = int((~padding_BT).sum(-1).max())  # sync: the width depends on the tokens
    return joined_BT.gather(1, order_BT)[:, :width]


def normalise(weights_XV: Tensor, otherwise_XV: Tensor) -> Tensor:
    """Rows scaled to sum to one; a row that is zero everywhere becomes the row of `otherwise_XV`.

    The residual max(p - q, 0) is zero where p and q are equal up to rounding: then p itself is right.
    """
    total_X1 = weights_XV.sum(-1, keepdim=True)
    return torch.where(total_X1 > 0, weights_XV / total_X1.clamp_min(torch.finfo(weights_XV.dtype).tiny), otherwise_XV)


def chain_parents(tokens_BN: Tensor) -> Tensor:
    """The parents_BN that a chain's None stands for."""
    batch, nodes = tokens_BN.shape
    return (torch.arange(nodes, device=tokens_BN.device) - 1).expand(batch, nodes)


def depths(parents_BN: Tensor) -> Tensor:
    """depth_BN of every node; a child of the root has depth 1."""
    return ancestry(parents_BN)[:, 1:].sum(-1) - 1


def ancestry(parents_BN: Tensor) -> Tensor:
    """sees_BMM, bool: row i sees row j, which is itself or an ancestor; row 0 is the root, row i + 1 is node i.

    A product of the relation with itself doubles how far a row sees.
    """
    batch, nodes = parents_BN.shape
    above_BM = torch.nn.functional.pad(parents_BN + 1, (1, 0))  # the root is above itself
    sees_BMM = torch.eye(nodes + 1, device=parents_BN.device).repeat(batch, 1, 1).scatter(2, above_BM[..., None], 1.0)
    for _ in range(nodes.bit_length()):
        sees_BMM = (sees_BMM @ sees_BMM).clamp_max(1.0)
    return sees_BMM > 0
