"""GOLD: universal logit distillation over chunks that end at the same byte, the tokens of a chunk merged into one law.

A merged law is one model's law at a row of the chunk times the probability of the chunk's other tokens: the entry of
the token that stands in the text is the chunk's probability, and the sum is below one. It is not normalised again. A
chunk's distance lies on its last student position (`distill.chunks`). Curricula, which mix laws, have no say here.

Where the tokenizers cut a chunk differently the two laws are about different tokens, and masses below one can agree by
being small: alone it can drive a student away from its teacher. Ask for `CrossEntropy` beside it.

Source: Patiño et al. 2025, "Unlocking On-Policy Distillation for Any Model Family" (huggingface/trl).
"""

from dataclasses import dataclass
from math import log
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from decant.distill.chunks import Shared, Side, placed, said, sorted_l1, spans_of
from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput
from decant.models.student import States
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class GOLD:
    """merging: "bayesian" takes the law of a chunk's last token and the probabilities of those before it; "observed"
        the law of its first and the probabilities of those behind it. (In trl "observed" has no shift: it takes what
        follows a token for the law of that token. Here both say the token that they are about.)
    hybrid:     tokens that both vocabularies know are compared one by one, with JSD, the others as sorted lists.
    beta:       the teacher's share of JSD's middle.
    matched:    the weight of the first part, the second has the rest; None: the share of the teacher's vocabulary that
                the student knows.
    skip_eos:   leaves out controls, such as the end of an answer.
    """

    merging: Literal["bayesian", "observed"] = "bayesian"
    hybrid: bool = False
    beta: float = 0.5
    matched: float | None = None
    skip_eos: bool = True

    needs: ClassVar[Gives] = "spans"

    def __post_init__(self) -> None:
        if not 0 < self.beta < 1:
            raise BadInput(f"beta must lie between 0 and 1, got {self.beta}")
        if self.matched is not None and not 0 <= self.matched <= 1:
            raise BadInput(f"matched is a share, between 0 and 1, not {self.matched}")

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal, student = spans_of(study), study.student
        chunks = signal.chunks.kept(~signal.chunks.control_C) if self.skip_eos else signal.chunks
        p_row_C, p_rest_C = self._merged(chunks.p, signal.said()[0])
        q_row_C, q_rest_C = self._merged(chunks.q, said(student, study.at.label_N, signal.shared.q_opens_O)[0])

        def apart(rows: slice) -> Tensor:
            with torch.no_grad():
                p_XU = _law(signal.states, p_row_C[rows], p_rest_C[rows])
            q_XV = _law(student, q_row_C[rows], q_rest_C[rows])
            return self.distance(p_XU, q_XV, signal.shared)

        widest = max(student.vocab, signal.states.vocab)
        return placed(by_chunks(len(chunks), widest, apart), chunks.q.last_C, study)

    def _merged(self, side: Side, logp_X: Tensor) -> tuple[Tensor, Tensor]:
        """The row whose law is taken, and logp_C of the chunk's other tokens."""
        row_C = side.last_C if self.merging == "bayesian" else side.first_C
        return row_C, side.total(logp_X) - logp_X[row_C]

    def distance(self, p_logp_XU: Tensor, q_logp_XV: Tensor, shared: Shared) -> Tensor:
        """nats_X between merged laws."""
        if not self.hybrid:
            return sorted_l1(p_logp_XU.exp(), q_logp_XV.exp())
        size = p_logp_XU.shape[-1]
        share = len(shared.p_S) / size if self.matched is None else self.matched
        known = self._jsd(p_logp_XU[:, shared.p_S], q_logp_XV[:, shared.q_S])
        return share * known + (1 - share) * sorted_l1(_others(p_logp_XU, shared.p_S), _others(q_logp_XV, shared.q_S))

    def _jsd(self, p_logp_XS: Tensor, q_logp_XS: Tensor) -> Tensor:
        """Zero where both are the same, above it elsewhere, also for masses that do not sum to one."""
        p, q = floored(p_logp_XS), floored(q_logp_XS)
        middle = torch.logaddexp(p + log(self.beta), q + log(1 - self.beta))
        return (self.beta * p.exp() * (p - middle) + (1 - self.beta) * q.exp() * (q - middle)).sum(-1)


def _law(states: States, row_X: Tensor, rest_X: Tensor) -> Tensor:
    return states.logp(row_X) + rest_X[:, None]


def _others(logp_XV: Tensor, known_S: Tensor) -> Tensor:
    """Probabilities of all other ids."""
    other_V = torch.ones(logp_XV.shape[-1], dtype=torch.bool, device=logp_XV.device).index_fill(0, known_S, False)
    return logp_XV[:, other_V].exp()  # sync: how many there are
