"""How far a student is from its teacher, token by token, on texts that it was not taught on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch

from decant.distill.seams import Dense
from decant.distill.texts import Positions, TextBatch
from decant.models.student import read
from decant.models.teacher import Teacher
from decant.numerics import floored

CHUNK = 256  # positions whose laws are in memory at once


@final
@dataclass(frozen=True, slots=True)
class Apart:
    """Means over `tokens` positions.

    kl:         KL(teacher || student), nats.
    agreement:  share of positions with the same likeliest token.
    acceptance: sum of min(p, q): how often a token that the student draws passes rejection sampling.
    nats:       -log q of the texts' own tokens.
    """

    tokens: int
    kl: float
    agreement: float
    acceptance: float
    nats: float


@torch.no_grad()
def measured(student: Any, teacher: Teacher, batches: Iterable[TextBatch]) -> Apart:
    """Both read the same texts; one tokenizer."""
    training = student.training
    student.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    tokens = 0
    for batch in batches:
        at = Positions.of(batch)
        ids_BT = batch.ids_BT.to(student.device)
        learnt, known = (read(model, ids_BT, at.row_N, at.at_N) for model in (student, teacher.network))
        tokens += len(at)
        for first in range(0, len(at), CHUNK):
            rows = slice(first, first + CHUNK)
            p, q, label_X = Dense(known.logp(rows)).beside(learnt.logp(rows), at.label_N[rows].to(student.device))
            p, q = floored(p), floored(q)
            found = (
                (p.exp() * (p - q)).sum(),
                (p.argmax(-1) == q.argmax(-1)).sum(),
                torch.minimum(p.exp(), q.exp()).sum(),
                -q.gather(-1, label_X[:, None]).sum(),
            )
            sums += torch.stack([one.double().cpu() for one in found])  # sync: a measurement
    student.train(training)
    return Apart(tokens, *(round(float(one) / tokens, 5) for one in sums))
