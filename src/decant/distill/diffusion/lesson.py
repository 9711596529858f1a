"""The lesson of a masked diffusion model: say what stands behind the masks.

A piece is a batch of texts with its masks drawn, a pure function of the step; so a run resumes to the same bits.
Source: Sahoo et al. 2024, arXiv:2406.07524; Nie et al. 2025, arXiv:2502.09992; Gong et al. 2024, arXiv:2410.17891
(from an autoregressive model: the shift, and attention that opens by and by).
"""

from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.masking import Masking
from decant.distill.trainer import Batches, Share
from decant.models.masked.convention import Convention
from decant.models.masked.training import Readings, masked_logits


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """weights_BT: of the places of a text, weight_VBT: of those of each reading; counted: what the weighted nats are
    divided by. convention: how the texts are read."""

    texts: Readings
    weights_BT: Tensor
    weight_VBT: Tensor
    counted: Tensor
    convention: Convention


@final
@dataclass(frozen=True, slots=True, eq=False)
class Filling:
    """A `Training`: cross-entropy where `masking` hides a text.

    texts: step -> ids_BT, PAD behind, and weights_BT: 0 for what is given, else what a place counts for. The first
        place of a text is always given.
    micro: rows that are read at once. opening: steps until attention is open in both directions.
    twice: whether each text is read a second time, with the other places of its answer hidden, and each place counts
        for one. Source: Wu et al. 2025, arXiv:2509.26328 (Fast-dLLM v2: complementary masks).
    whole: share of the steps in which a canvas is one block, of a model that reads block by block.
    lead: what a hidden place counts for whose neighbour in front is not hidden. said: of a model that reads block by
        block, what a place counts for that the text's own rows say, as a causal model does: with both, a model that was
        causal keeps what it knows.
    """

    network: Any
    convention: Convention
    texts: Batches
    masking: Masking
    micro: int = 16
    opening: int = 0
    seed: int = 0
    twice: bool = False
    whole: float = 0.0
    lead: float = 1.0
    said: float = 0.0

    def start(self) -> None:
        """Nothing is remembered."""

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Piece], None]:
        """This process's rows, in pieces."""
        ids_BT, weights_BT = self.texts(step)
        chance = torch.Generator().manual_seed(self.seed * 2**32 + step)
        answer_BT = weights_BT > 0
        found = self.masking(answer_BT, chance)
        masked_VBT, weight_VBT = found.masked_BT[None], found.weight_BT[None]
        counted_B = found.counted_B
        if self.twice:
            masked_VBT = torch.stack([found.masked_BT, answer_BT & ~found.masked_BT])
            weight_VBT, counted_B = masked_VBT.float(), answer_BT.sum(-1)
        leads_VBT = masked_VBT & ~masked_VBT.roll(1, -1)
        weight_VBT = weight_VBT * weights_BT * torch.where(leads_VBT, self.lead, 1.0)
        ahead = None
        if step < self.opening:
            open_ = (step + 1) / self.opening
            ahead = torch.rand(*ids_BT.shape, ids_BT.shape[1], generator=chance) < open_
        whole = bool(torch.rand((), generator=chance) < self.whole)
        convention = replace(self.convention, block=None) if whole else self.convention
        place = self.network.device
        return [
            Piece(
                Readings(
                    ids_BT[rows].to(place),
                    answer_BT[rows].to(place),
                    masked_VBT[:, rows].to(place),
                    weight_VBT[:, rows].to(place) > 0,
                    None if ahead is None else ahead[rows].to(place),
                    answer_BT[rows].to(place) if self.said and convention.block is not None else None,
                ),
                weights_BT[rows].to(place),
                weight_VBT[:, rows].to(place),
                counted_B[rows].sum().float().to(place),
                convention,
            )
            for rows in share.pieces(len(ids_BT), self.micro)
        ], None

    def weight(self, piece: Piece) -> Tensor:
        """Places that could have been masked."""
        return piece.counted

    def nats(self, state: None, step: int, piece: Piece) -> Tensor:
        """Weighted nats, summed."""
        logits_NV = masked_logits(self.network, piece.convention, piece.texts)
        asked_VBT, said_BT = piece.texts.asked_VBT, piece.texts.said_BT
        label_N, weight_N = piece.texts.ids_BT.expand_as(asked_VBT)[asked_VBT], piece.weight_VBT[asked_VBT]
        if said_BT is not None:
            label_N = torch.cat([label_N, piece.texts.ids_BT[said_BT]])
            weight_N = torch.cat([weight_N, self.said * piece.weights_BT[said_BT]])
        return (cross_entropy(logits_NV, label_N, reduction="none") * weight_N).sum()

    def observe(self, state: None, step: int, nats: float) -> None:
        """Nothing is learnt."""
