"""Certainty-forcing: a model learns its answers again, and to be certain where it is right, so that more places settle
at once.

A text is read twice. Both times one block is masked by half, what lies behind it wholly; the second time the other half
is masked. Means are of each text and each reading, so that a long answer counts as much as a short one.
Source: Chen et al. 2025, arXiv:2509.26488 (dParallel).
"""

from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.masking import Blocks, Uniform
from decant.distill.diffusion.recipe import Material
from decant.distill.trainer import Batches, Share
from decant.errors import BadInput, IncompatibleParts
from decant.models.masked.convention import Convention
from decant.models.masked.training import Readings, masked_logits


@final
@dataclass(frozen=True, slots=True)
class DParallel:
    """beta: weight of the entropy of what is right already. block: places of a block, 0: the whole answer is one; a
    model that reads block by block has its own.
    heat: the temperature under which entropy is taken. answers: those of the data, or the model's own, written one
    place a step."""

    beta: float = 2.0
    block: int = 32
    heat: float = 0.5
    answers: Literal["data", "own"] = "data"

    def __post_init__(self) -> None:
        if self.beta < 0 or self.block < 0 or not self.heat > 0:
            raise BadInput(
                f"dparallel needs beta >= 0, block >= 0 and heat > 0, not {self.beta:g}, {self.block} and {self.heat:g}"
            )

    def convention(self, network: Any, name: str) -> Convention:
        """The model's own."""
        found = Convention.of(network.config)
        if found is None:
            raise IncompatibleParts(
                f"{name} speaks from left to right, and dparallel is for models that fill in masks; make one of it "
                f"with decant distill mdlm --student {name}"
            )
        return found

    def training(self, material: Material) -> "Forcing":
        """Two readings of every text."""
        return Forcing(
            material.network,
            material.convention,
            material.texts,
            self,
            material.micro,
            material.seed,
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Texts, read twice. share_VBT: of a hidden place in its text's mean, 0 elsewhere."""

    texts: Readings
    share_VBT: Tensor


@final
@dataclass(frozen=True, slots=True, eq=False)
class Forcing:
    """A `Training`. texts: as `Filling` takes them. micro: rows that are read at once."""

    network: Any
    masks: Convention
    texts: Batches
    recipe: DParallel
    micro: int = 16
    seed: int = 0

    def start(self) -> None:
        """Nothing is remembered."""

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Piece], None]:
        """This process's texts in pieces. A model that reads block by block learns all blocks at once."""
        ids_BT, weights_BT = self.texts(step)
        chance = torch.Generator().manual_seed(self.seed * 2**32 + step)
        answer_BT, place = weights_BT > 0, self.network.device
        block = self.recipe.block if self.masks.block is None else 0
        hidden_VBT, behind_BT = halves(answer_BT, block, chance)
        share_VBT = parts(hidden_VBT * weights_BT)
        return [
            Piece(
                Readings(
                    ids_BT[rows].to(place),
                    answer_BT[rows].to(place),
                    (hidden_VBT | behind_BT)[:, rows].to(place),
                    share_VBT[:, rows].to(place) > 0,
                ),
                share_VBT[:, rows].to(place),
            )
            for rows in share.pieces(len(ids_BT), self.micro)
        ], None

    def weight(self, piece: Piece) -> Tensor:
        """Texts."""
        return torch.tensor(float(len(piece.texts.ids_BT)))

    def nats(self, state: None, step: int, piece: Piece) -> Tensor:
        """Cross-entropy, and `beta` times the entropy of the right; summed over texts, a mean of each."""
        asked_VBT = piece.texts.asked_VBT
        label_N, share_N = piece.texts.ids_BT.expand_as(asked_VBT)[asked_VBT], piece.share_VBT[asked_VBT]
        logits_NV = masked_logits(self.network, self.masks, piece.texts)
        nats = (cross_entropy(logits_NV, label_N, reduction="none") * share_N).sum()
        if not self.recipe.beta:
            return nats
        right_N = logits_NV.detach().argmax(-1) == label_N
        right_VBT = parts(torch.zeros_like(piece.share_VBT).masked_scatter(asked_VBT, share_N * right_N))
        doubt_N = entropy(logits_NV / self.recipe.heat)
        return nats + self.recipe.beta * (doubt_N * right_VBT[asked_VBT]).sum()

    def observe(self, state: None, step: int, nats: float) -> None:
        """Nothing is learnt."""


def halves(answer_BT: Tensor, block: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """hidden_VBT of two readings: of one block, drawn for each text, each place is hidden in just one; behind_BT."""
    masking = Blocks(block, 1.0, 1.0) if block else Uniform(1.0, 1.0)
    whole = masking(answer_BT, chance)
    active_BT = whole.weight_BT > 0
    one_BT = active_BT & (torch.rand(answer_BT.shape, generator=chance) < 0.5)
    return torch.stack([one_BT, active_BT & ~one_BT]), whole.masked_BT & ~active_BT


def parts(weight_BT: Tensor) -> Tensor:
    """Weights of each row over their sum; zeros stay zeros."""
    sum_B1 = weight_BT.sum(-1, keepdim=True)
    return weight_BT / sum_B1.where(sum_B1 > 0, 1.0)


def entropy(logits_NV: Tensor) -> Tensor:
    """Nats, with a finite gradient where a token is forbidden."""
    logp_NV = logits_NV.log_softmax(-1)
    return -(logp_NV.exp() * logp_NV.masked_fill(logp_NV == -torch.inf, 0.0)).sum(-1)
