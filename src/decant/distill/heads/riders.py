"""How rows that ride in a teacher's own forward are taught: hung behind some columns of a text, each is held against
what the teacher says where it guesses.

Source: Chen et al. 2024, arXiv:2405.18628 (random places of the text, 0.8 a place).
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from decant.distill.heads.lesson import cross_entropy
from decant.distill.trainer import Loss
from decant.errors import BadInput
from decant.models.build import mixed_precision
from decant.models.heads.riders import heard
from decant.models.teacher import Reading, Teacher


def taught(net: Any, teacher: Teacher, columns: int, decay: float) -> Loss:
    """Cross-entropy to the teacher's law, the gradient of KL, the mean over places; a place counts `decay` times the
    one before. columns: of each text, drawn anew for every text.

    Raises BadInput for a batch of texts too short to guess in.
    """

    def loss(ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
        reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
        column_BS = drawn(reading, columns)
        total = weight = reading.logits_NV.new_zeros(())
        with mixed_precision(teacher.device):
            hidden_BSJD = heard(net, reading, column_BS.clamp_min(0))
            for place, hidden_BSD in enumerate(hidden_BSJD.unbind(2)):
                answer_BS = answers(reading, column_BS, place)
                kept_BS = answer_BS >= 0
                answer_K = answer_BS[kept_BS]  # sync: short texts have fewer
                law_KV, weight_K = reading.logits_NV[answer_K].softmax(-1), reading.weight_N[answer_K]
                nats = cross_entropy(law_KV, net.ends.say(hidden_BSD[kept_BS]), weight_K)
                total = total + decay**place * nats / len(net.entries)
                weight = weight + (weight_K.sum() if not place else 0.0)
        return total * reading.weight_N.sum() / weight  # as if it were all columns: the trainer counts those

    return loss


def drawn(reading: Reading, columns: int) -> Tensor:
    """column_BS: columns in front of positions that count, at random, PAD where a text has fewer. It depends on the
    text alone, so that a run that resumes draws the same. Raises BadInput where there is none."""
    kept_K, column_K = reading.columns(0)
    rng = torch.Generator().manual_seed(int(reading.ids_BT.sum()))  # sync: the text is the seed
    lot_BT = torch.rand(reading.ids_BT.shape, generator=rng).to(reading.ids_BT.device)
    fit_BT = torch.zeros_like(lot_BT, dtype=torch.bool)
    fit_BT[reading.row_N[kept_K], column_K] = True
    most = min(columns, int(fit_BT.sum(-1).max()))  # sync: how many there are
    if not most:
        raise BadInput("a batch in which nothing can be guessed two tokens ahead teaches nothing; give longer rows")
    best_BS, column_BS = lot_BT.masked_fill(~fit_BT, -1.0).topk(most, -1)
    return column_BS.where(best_BS >= 0, -1)


def answers(reading: Reading, column_BS: Tensor, place: int) -> Tensor:
    """index_BS into the positions that count: where the teacher says what the row at that place behind each column
    guesses; -1 where that does not count, or the column is absent."""
    batch, length = reading.ids_BT.shape
    index_BT = torch.full((batch, length + place + 1), -1, device=reading.ids_BT.device)
    index_BT[reading.row_N, reading.at_N] = torch.arange(len(reading.row_N), device=index_BT.device)
    return index_BT.gather(1, column_BS.clamp_min(0) + 1 + place).where(column_BS >= 0, -1)


def guesses(net: Any, reading: Reading) -> Iterator[Tensor]:
    """logits_KV of each place, behind all columns (see `lesson.HeadRecipe`)."""
    batch, length = reading.ids_BT.shape
    hidden_BTJD = heard(net, reading, torch.arange(length, device=reading.ids_BT.device).expand(batch, -1))
    for place, hidden_BTD in enumerate(hidden_BTJD.unbind(2)):
        kept_K, column_K = reading.columns(place)
        yield net.ends.say(hidden_BTD[reading.row_N[kept_K], column_K])
