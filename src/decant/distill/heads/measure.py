"""What a head has learnt: how often its likeliest guess is the teacher's, a depth at a time and in a row."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.heads.lesson import HeadRecipe
from decant.distill.trainer import Batch
from decant.models.teacher import Teacher


@final
@dataclass(frozen=True, slots=True)
class Learnt:
    """On held-out rows, the text's own ids in front of every guess.

    accuracy: of each depth, the share of guesses that are the teacher's likeliest id.
    in_row:   of each depth, the share of columns where that and every guess before it are.
    columns:  how many were looked at, of each depth.
    """

    accuracy: tuple[float, ...]
    in_row: tuple[float, ...]
    columns: tuple[int, ...]

    @property
    def acceptance_length(self) -> float:
        """Tokens that a greedy chain of that depth would give a step, the teacher's own included, on such texts."""
        return 1.0 + sum(self.in_row)


@torch.no_grad()
def measure(recipe: HeadRecipe, net: Any, teacher: Teacher, rows: Iterable[Batch]) -> Learnt:
    """Greedy guesses of all depths against what the teacher finds likeliest."""
    training = net.training
    net.eval()
    right: list[int] = []
    count: list[int] = []
    chains: list[int] = []
    starts: list[int] = []
    for ids_BT, weights_BT in rows:
        reading = teacher.read(ids_BT, weights_BT, net.spec.taps)
        best_N = reading.logits_NV.argmax(-1)
        begun_BT = kept_BT = torch.zeros_like(reading.ids_BT, dtype=torch.bool)  # kept: all guesses so far hold
        for depth, logits_KV in enumerate(recipe.guesses(net, reading)):
            kept_K, column_K = reading.columns(depth)
            right_K = _target_ids(logits_KV, net.ids_V) == best_N[kept_K]
            place = reading.row_N[kept_K], column_K
            held_BT, seen_BT = torch.zeros_like(kept_BT), torch.zeros_like(kept_BT)
            held_BT[place] = right_K if depth == 0 else right_K & kept_BT[place]
            seen_BT[place] = True
            kept_BT = held_BT
            begun_BT = seen_BT if depth == 0 else begun_BT
            for total, new in (
                (right, right_K.sum()),
                (count, seen_BT.sum()),
                (chains, held_BT.sum()),
                (starts, (begun_BT & seen_BT).sum()),
            ):
                total.extend([0] * (depth + 1 - len(total)))
                total[depth] += int(new)  # sync: a measurement
    net.train(training)
    shares = tuple(one / max(of, 1) for one, of in zip(right, count, strict=True))
    rows_right = tuple(accumulate((one / max(of, 1) for one, of in zip(chains, starts, strict=True)), min))
    return Learnt(shares, rows_right, tuple(count))


def _target_ids(logits_KV: Tensor, ids_V: Tensor | None) -> Tensor:
    best_K = logits_KV.argmax(-1)
    return best_K if ids_V is None else ids_V[best_K]
