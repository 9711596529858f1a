"""A text in the tokens of two models: chunks that end at the same byte in both, and the rows that say them.

Beside the letters of `types.py`: N are the student's positions that count, M the teacher's own, C the chunks. A chunk's
nats lie on its last student position, so a step's mean stays one over the student's tokens: a chunk of three tokens
weighs as much as one of one token, and a mean over chunks is this mean times N over C.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.distill.seams import Dense, Study, by_chunks
from decant.models.student import States
from decant.numerics import floored
from decant.types import PAD
from decant.vocab.token_map import TokenMap
from decant.vocab.vocabulary import Vocabulary

SPACES = b" \t\r\n"


@final
@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One model's rows of each chunk, which lie side by side.

    first_C, last_C: that say its first token and its last. after_C: that says what follows, PAD where none does.
    """

    first_C: Tensor
    last_C: Tensor
    after_C: Tensor

    def total(self, values_X: Tensor) -> Tensor:
        """values_C: summed over the rows of each chunk."""
        count_C = self.last_C - self.first_C + 1
        chunk_K = torch.arange(len(count_C), device=count_C.device).repeat_interleave(count_C)
        begin_C = count_C.cumsum(0) - count_C
        row_K = (self.first_C - begin_C)[chunk_K] + torch.arange(len(chunk_K), device=count_C.device)
        return values_X.new_zeros(len(count_C)).index_add(0, chunk_K, values_X[row_K])

    def joined(self, begin_G: Tensor, end_G: Tensor) -> "Side":
        """Neighbouring chunks begin ... end as one each."""
        return Side(self.first_C[begin_G], self.last_C[end_G], self.after_C[end_G])


@final
@dataclass(frozen=True, slots=True, eq=False)
class Chunks:
    """The chunks of a batch that count, in the order of rows: all their tokens have a weight and something before them.

    q, p:      the student's rows and the teacher's. row_C: the text.
    control_C: whether it is a control, such as the end of an answer.
    """

    q: Side
    p: Side
    row_C: Tensor
    control_C: Tensor

    def __len__(self) -> int:
        return len(self.row_C)

    @property
    def linked_C(self) -> Tensor:
        """Whether a chunk follows on the one before it, in both models."""
        linked_C = torch.zeros_like(self.control_C)
        linked_C[1:] = (self.q.first_C[1:] == self.q.after_C[:-1]) & (self.p.first_C[1:] == self.p.after_C[:-1])
        return linked_C

    def joined(self, begin_G: Tensor, end_G: Tensor) -> "Chunks":
        """Neighbours begin ... end as one each."""
        q, p = self.q.joined(begin_G, end_G), self.p.joined(begin_G, end_G)
        return Chunks(q, p, self.row_C[end_G], self.control_C[end_G])

    def kept(self, wanted_C: Tensor) -> "Chunks":
        """Some of them."""
        at_G = wanted_C.nonzero()[:, 0]  # sync: how many depends on the texts
        return self.joined(at_G, at_G)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """What the vocabularies have in common, as ids.

    q_S, p_S: tokens that both know, side by side. q_opens_O, p_opens_O: tokens that no earlier token can reach into:
    those that begin with white space, and controls.
    """

    q_S: Tensor
    p_S: Tensor
    q_opens_O: Tensor
    p_opens_O: Tensor

    @classmethod
    def of(cls, student: Vocabulary, teacher: Vocabulary) -> "Shared":
        """Bytes that two ids of one vocabulary write are left out."""
        shared = TokenMap.of(student, teacher, (len(student.pieces), len(teacher.pieces))).draft_V
        q_S = (shared != PAD).nonzero()[:, 0]
        return cls(q_S, shared[q_S], _opening(student), _opening(teacher))

    def to(self, device: torch.device) -> "Shared":
        """On a device."""
        return Shared(*(getattr(self, name).to(device) for name in self.__slots__))


def _opening(vocabulary: Vocabulary) -> Tensor:
    spaces = [token for token, piece in enumerate(vocabulary.pieces) if piece and piece[0] in SPACES]
    return torch.tensor(sorted({*spaces, *vocabulary.controls.values()}), dtype=torch.int64)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """What a teacher thinks of a batch in its own tokens.

    states: the teacher's, at its M positions. label_M: the token that its text has behind each.
    """

    chunks: Chunks
    states: States
    label_M: Tensor
    shared: Shared

    @torch.no_grad()
    def law(self, rows: slice) -> Dense:
        """At these of the teacher's own M positions, not of the student's N."""
        return Dense(self.states.logp(rows))

    @torch.no_grad()
    def said(self) -> tuple[Tensor, Tensor]:
        """logp_M of the teacher's own tokens, and of a white space or a control in their place."""
        return said(self.states, self.label_M, self.shared.p_opens_O)


def said(states: States, label_X: Tensor, opens_O: Tensor) -> tuple[Tensor, Tensor]:
    """logp_X of the labels, and of any of the ids `opens_O` in their place, in nats."""

    def both(rows: slice) -> Tensor:
        logp_XV = states.logp(rows)
        opens_X = floored(logp_XV[:, opens_O].logsumexp(-1))
        return torch.stack([floored(logp_XV.gather(-1, label_X[rows, None])[:, 0]), opens_X], -1)

    both_X2 = by_chunks(len(label_X), states.vocab, both)
    return both_X2[:, 0], both_X2[:, 1]


def spans_of(study: Study) -> Spans:
    """The signal of a teacher that gives spans."""
    assert isinstance(study.signal, Spans)
    return study.signal


def placed(nats_C: Tensor, last_C: Tensor, study: Study) -> Tensor:
    """nats_N: each chunk's on its last student position, 0 elsewhere."""
    return nats_C.new_zeros(len(study.at)).index_add(0, last_C, nats_C)


def sorted_l1(p_XU: Tensor, q_XV: Tensor) -> Tensor:
    """distance_X: L1 between rows of masses, each sorted downwards, zeros behind the shorter; ids do not matter."""
    width = max(p_XU.shape[-1], q_XV.shape[-1])
    p_XW, q_XW = (pad(one.sort(-1, descending=True).values, (0, width - one.shape[-1])) for one in (p_XU, q_XV))
    return (p_XW - q_XW).abs().sum(-1)


def runs(linked: Sequence[bool], sure: Sequence[bool]) -> list[tuple[int, int]]:
    """begin and end of the shortest runs of linked chunks that end in a sure one; what never gets there is left out."""
    found = []
    begin = 0
    for at in range(len(linked)):
        if not linked[at]:
            begin = at
        if sure[at]:
            found.append((begin, at))
            begin = at + 1
    return found
