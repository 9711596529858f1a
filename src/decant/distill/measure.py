"""How far a student is from its teacher, token by token, on texts that it was not taught on."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from decant.distill.seams import Coarse, Dense, Law, by_chunks
from decant.distill.seams import Teacher as Source
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.models.current import at_rest
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


def own_nats(network: Any, texts: Sequence[Text], rows: int, length: int) -> float:
    """-log q of the texts' own tokens, a mean by weight; rows: read at once."""
    nats, weight = 0.0, 0.0
    with at_rest(network):
        for first in range(0, len(texts), rows):
            batch = padded(texts[first : first + rows], length)
            at = Positions.of(batch)
            states = read(network, batch.ids_BT.to(network.device), at.row_N, at.at_N)
            label_N1 = at.label_N[:, None].to(network.device)

            def nats_of(part: slice, states: Any = states, label_N1: Any = label_N1) -> Tensor:
                return -states.logp(part).gather(-1, label_N1[part])[:, 0]

            nats_N = by_chunks(len(at), states.vocab, nats_of).cpu()  # sync: who asks decides on the host
            nats += float((nats_N * at.weight_N).sum())
            weight += float(at.weight_N.sum())
    return nats / weight


def _laws(teacher: Teacher | Source, batch: TextBatch, at: Positions, ids_BT: Tensor) -> Callable[[slice], Law]:
    if not isinstance(teacher, Teacher):
        return teacher.signal(replace(batch, ids_BT=ids_BT), at).law
    states = read(teacher.network, ids_BT, at.row_N, at.at_N)
    return lambda rows: Dense(states.logp(rows))
