"""How far a student is from its teacher, token by token, on texts that it was not taught on."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.seams import Coarse, Dense, Law
from decant.distill.seams import Teacher as Source
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
    outcomes:   None, or how many were told apart: of a teacher's best ids and all others together kl is a lower bound,
                and acceptance an upper one.
    """

    tokens: int
    kl: float
    agreement: float
    acceptance: float
    nats: float
    outcomes: int | None = None


@torch.no_grad()
def measured(student: Any, teacher: Teacher | Source, batches: Iterable[TextBatch]) -> Apart:
    """Both read the same texts; one tokenizer."""
    training = student.training
    student.eval()
    sums = torch.zeros(4, dtype=torch.float64)
    tokens, outcomes = 0, None
    for batch in batches:
        at = Positions.of(batch)
        ids_BT = batch.ids_BT.to(student.device)
        learnt = read(student, ids_BT, at.row_N, at.at_N)
        law = _laws(teacher, batch, at, ids_BT)
        tokens += len(at)
        for first in range(0, len(at), CHUNK):
            rows = slice(first, first + CHUNK)
            known, q_XV, label_X = law(rows), learnt.logp(rows), at.label_N[rows].to(student.device)
            p, q, _ = known.beside(q_XV, label_X)
            p, q = floored(p), floored(q)
            if isinstance(known, Coarse):
                outcomes, own, same_X = p.shape[-1], q_XV, known.ids_XK[:, 0] == q_XV.argmax(-1)
            else:
                own, same_X = q, p.argmax(-1) == q.argmax(-1)
            found = (
                (p.exp() * (p - q)).sum(),
                same_X.sum(),
                torch.minimum(p.exp(), q.exp()).sum(),
                -floored(own).gather(-1, label_X[:, None]).sum(),
            )
            sums += torch.stack([one.double().cpu() for one in found])  # sync: a measurement
    student.train(training)
    kl, agreement, acceptance, nats = (round(float(one) / tokens, 5) for one in sums)
    return Apart(tokens, kl, agreement, acceptance, nats, outcomes)


def _laws(teacher: Teacher | Source, batch: TextBatch, at: Positions, ids_BT: Tensor) -> Callable[[slice], Law]:
    if not isinstance(teacher, Teacher):
        return teacher.signal(replace(batch, ids_BT=ids_BT), at).law
    states = read(teacher.network, ids_BT, at.row_N, at.at_N)
    return lambda rows: Dense(states.logp(rows))
