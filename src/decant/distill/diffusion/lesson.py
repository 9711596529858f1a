"""The lesson of a masked diffusion model: say what stands behind the masks.

A piece is a batch of texts with its masks drawn, a pure function of the step; so a run resumes to the same bits.
Source: Sahoo et al. 2024, arXiv:2406.07524; Nie et al. 2025, arXiv:2502.09992; Gong et al. 2024, arXiv:2410.17891
(from an autoregressive model: the shift, and attention that opens by and by).
"""

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.masking import Masking
from decant.distill.trainer import Batches, Share
from decant.models.masked.convention import Convention
from decant.models.masked.training import masked_logits


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """canvas_BT: ids, the mask's among them, PAD behind. ids_BT: what stands behind the masks. answer_BT, ahead_BTT: as
    `masked_logits` takes them. weight_BT: of each place; counted: what the weighted nats are divided by."""

    canvas_BT: Tensor
    ids_BT: Tensor
    answer_BT: Tensor
    weight_BT: Tensor
    counted: Tensor
    ahead_BTT: Tensor | None = None


@final
@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """A `Training`: cross-entropy where `masking` hides a text.

    texts: step -> ids_BT, PAD behind, and weights_BT: 0 for what is given, else what a place counts for. The first
        place of a text is always given.
    micro: rows that are read at once. opening: steps until attention is open in both directions.
    """

    network: Any
    convention: Convention
    texts: Batches
    masking: Masking
    micro: int = 16
    opening: int = 0
    seed: int = 0

    def start(self) -> None:
        """Nothing is remembered."""

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Piece], None]:
        """This process's rows, in pieces."""
        ids_BT, weights_BT = self.texts(step)
        chance = torch.Generator().manual_seed(self.seed * 2**32 + step)
        answer_BT = weights_BT > 0
        found = self.masking(answer_BT, chance)
        canvas_BT = ids_BT.masked_fill(found.masked_BT, self.convention.mask_token_id)
        weight_BT = found.weight_BT * weights_BT
        ahead = None
        if step < self.opening:
            open_ = (step + 1) / self.opening
            ahead = torch.rand(*ids_BT.shape, ids_BT.shape[1], generator=chance) < open_
        place = self.network.device
        return [
            Piece(
                *(part[rows].to(place) for part in (canvas_BT, ids_BT, answer_BT, weight_BT)),
                counted=(found.counted_B[rows].sum()).float().to(place),
                ahead_BTT=None if ahead is None else ahead[rows].to(place),
            )
            for rows in share.pieces(len(ids_BT), self.micro)
        ], None

    def weight(self, piece: Piece) -> Tensor:
        """Places that could have been masked."""
        return piece.counted

    def nats(self, state: None, step: int, piece: Piece) -> Tensor:
        """Weighted nats, summed."""
        row_N, place_N = (piece.weight_BT > 0).nonzero(as_tuple=True)  # sync: how many places are hidden
        at = (row_N, place_N)
        logits_NV = masked_logits(
            self.network, self.convention, piece.canvas_BT, piece.answer_BT, at, piece.ahead_BTT
        )
        nats_N = cross_entropy(logits_NV, piece.ids_BT[at], reduction="none")
        return (nats_N * piece.weight_BT[at]).sum()

    def observe(self, state: None, step: int, nats: float) -> None:
        """Nothing is learnt."""
