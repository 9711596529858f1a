"""How well a model fills in masks, on texts that it was not taught on.

Of each answer a number of places is masked that is spread evenly over the texts; this has less spread than masking
each place by chance, and the same mean.
Source: Nie et al. 2025, arXiv:2502.09992 (the bound by exact numbers of masks); Chen et al. 2025, arXiv:2509.26488
(certainty: entropy of at most 0.5 nats).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from decant.distill.diffusion.dparallel import entropy
from decant.distill.trainer import Batch
from decant.models.masked.convention import Convention
from decant.models.masked.training import Readings, masked_logits

CERTAIN: Final = 0.5  # nats
READ: Final = 16  # rows that are read at once


@final
@dataclass(frozen=True, slots=True)
class Filled:
    """Means over places, weighted as the texts say. masked: how many places were asked about.

    nats:    of a place of an answer, an upper bound on -log p.
    right:   share of the masked places whose likeliest id is the text's.
    certain: share of them that are right, with an entropy of at most 0.5 nats.
    """

    masked: int
    nats: float
    right: float
    certain: float


@torch.no_grad()
def measured(network: Any, convention: Convention, batches: Iterable[Batch], seed: int = 0) -> Filled:
    """Of as many batches as there are."""
    training = network.training
    network.eval()
    chance, place = torch.Generator().manual_seed(seed), network.device
    sums, masked, answered = torch.zeros(4, dtype=torch.float64), 0, 0.0
    for ids_BT, weights_BT in batches:
        hidden_BT, times_B1 = counted(weights_BT > 0, chance)
        for rows in torch.arange(len(ids_BT)).split(READ):
            ids, hidden = ids_BT[rows].to(place), hidden_BT[rows].to(place)
            row_N, _ = hidden.nonzero(as_tuple=True)
            weight_N, label_N = weights_BT[rows].to(place)[hidden], ids[hidden]
            times_N = times_B1[rows].to(place)[row_N, 0]
            answer = weights_BT[rows].to(place) > 0
            logits_NV = masked_logits(network, convention, Readings(ids, answer, hidden[None], hidden[None]))
            right_N = logits_NV.argmax(-1) == label_N
            sure_N = right_N & (entropy(logits_NV) <= CERTAIN)
            nats_N = cross_entropy(logits_NV, label_N, reduction="none") * times_N
            found = [(weight_N * one_N).sum() for one_N in (nats_N, right_N, sure_N, torch.ones_like(weight_N))]
            sums += torch.stack(found).double().cpu()  # sync: a measurement
            masked += len(label_N)
        answered += float(weights_BT.sum())
    network.train(training)
    nats, right, certain, asked = sums.tolist()
    return Filled(masked, nats / max(answered, 1e-9), right / max(asked, 1e-9), certain / max(asked, 1e-9))


def counted(answer_BT: Tensor, chance: torch.Generator) -> tuple[Tensor, Tensor]:
    """hidden_BT, of an answer of n places 1 to n of them, each number alike likely; times_B1: n over that number."""
    places_B1 = answer_BT.sum(-1, keepdim=True)
    spread_B1 = ((torch.arange(len(answer_BT)) + torch.rand((), generator=chance)) / len(answer_BT))[:, None]
    count_B1 = ((spread_B1 * places_B1).long() + 1).minimum(places_B1.clamp_min(1))
    rank_BT = torch.rand(answer_BT.shape, generator=chance).masked_fill(~answer_BT, 2.0).argsort(-1).argsort(-1)
    return answer_BT & (rank_BT < count_B1), places_B1 / count_B1
