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
from decant.models.masked.training import masked_logits


@final
@dataclass(frozen=True, slots=True)
class DParallel:
    """beta: weight of the entropy of what is right already. block: places of a block, 0: the whole answer is one.
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
class Reading:
    """Texts read once. ids_BT: what is behind masks. answer_BT: as `masked_logits` takes it. share_BT: of a hidden
    place in its text's mean, 0 elsewhere."""

    canvas_BT: Tensor
    ids_BT: Tensor
    answer_BT: Tensor
    share_BT: Tensor


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

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Reading], None]:
        """This process's texts, both readings, in pieces."""
        ids_BT, weights_BT = self.texts(step)
        chance = torch.Generator().manual_seed(self.seed * 2**32 + step)
        answer_BT = weights_BT > 0
        readings = halves(answer_BT, self.recipe.block, chance)
        pieces, place = [], self.network.device
        for hidden_BT, behind_BT in readings:
            canvas_BT = ids_BT.masked_fill(hidden_BT | behind_BT, self.masks.mask_token_id)
            share_BT = parts(hidden_BT * weights_BT)
            pieces += [
                Reading(*(part[rows].to(place) for part in (canvas_BT, ids_BT, answer_BT, share_BT)))
                for rows in share.pieces(len(ids_BT), self.micro)
            ]
        return pieces, None

    def weight(self, piece: Reading) -> Tensor:
        """Texts: half of one a reading."""
        return torch.tensor(len(piece.ids_BT) / 2)

    def nats(self, state: None, step: int, piece: Reading) -> Tensor:
        """Cross-entropy, and `beta` times the entropy of the right; summed over texts, a mean of each."""
        row_N, place_N = (piece.share_BT > 0).nonzero(as_tuple=True)  # sync: how many places are hidden
        at = (row_N, place_N)
        label_N, share_N = piece.ids_BT[at], piece.share_BT[at]
        logits_NV = masked_logits(self.network, self.masks, piece.canvas_BT, piece.answer_BT, at)
        nats = (cross_entropy(logits_NV, label_N, reduction="none") * share_N).sum()
        if not self.recipe.beta:
            return nats
        right_N = logits_NV.detach().argmax(-1) == label_N
        right_BT = parts(torch.zeros_like(piece.share_BT).index_put(at, share_N * right_N))
        doubt_N = entropy(logits_NV / self.recipe.heat)
        return nats + self.recipe.beta * (doubt_N * right_BT[at]).sum()

    def observe(self, state: None, step: int, nats: float) -> None:
        """Nothing is learnt."""


def halves(answer_BT: Tensor, block: int, chance: torch.Generator) -> tuple[tuple[Tensor, Tensor], ...]:
    """(hidden_BT, behind_BT) of two readings: of one block, drawn for each text, each place is hidden in just one."""
    masking = Blocks(block, 1.0, 1.0) if block else Uniform(1.0, 1.0)
    whole = masking(answer_BT, chance)
    active_BT = whole.weight_BT > 0
    one_BT = active_BT & (torch.rand(answer_BT.shape, generator=chance) < 0.5)
    behind_BT = whole.masked_BT & ~active_BT
    return (one_BT, behind_BT), (active_BT & ~one_BT, behind_BT)


def parts(weight_BT: Tensor) -> Tensor:
    """Weights of each row over their sum; zeros stay zeros."""
    sum_B1 = weight_BT.sum(-1, keepdim=True)
    return weight_BT / sum_B1.where(sum_B1 > 0, 1.0)


def entropy(logits_NV: Tensor) -> Tensor:
    """Nats, with a finite gradient where a token is forbidden."""
    logp_NV = logits_NV.log_softmax(-1)
    return -(logp_NV.exp() * logp_NV.masked_fill(logp_NV == -torch.inf, 0.0)).sum(-1)
