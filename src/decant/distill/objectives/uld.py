"""Universal logit distillation: laws over different vocabularies, compared as sorted lists of probabilities.

It cannot tell which token is which: ask for the text's own tokens (`CrossEntropy`) beside it. A chunk's distance lies
on its last student position (`distill.chunks`). Curricula, which mix laws, have no say here.

Source: Boizard et al. 2024, arXiv:2402.12030.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from decant.distill.chunks import Chunks, placed, sorted_l1, spans_of
from decant.distill.seams import Gives, Study, by_chunks


@final
@dataclass(frozen=True, slots=True)
class ULD:
    """sum over ranks k of |p_(k) - q_(k)|, in probability, between 0 and 2.

    pairing: "chunks" compares what both say where a chunk begins, which is behind the same bytes; "index" is the
    paper's: the k-th token of one answer with the k-th of the other, which drifts apart, up to the end of the shorter.
    """

    pairing: Literal["chunks", "index"] = "chunks"

    needs: ClassVar[Gives] = "spans"

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal = spans_of(study)
        chunks = signal.chunks
        if self.pairing == "chunks":
            q_row_P, p_row_P, last_P = chunks.q.first_C, chunks.p.first_C, chunks.q.last_C
        else:
            q_row_P, p_row_P = _by_index(chunks)
            last_P = q_row_P

        def apart(pairs: slice) -> Tensor:
            with torch.no_grad():
                p_XU = signal.states.logp(p_row_P[pairs]).exp()
            return sorted_l1(p_XU, study.student.logp(q_row_P[pairs]).exp())

        widest = max(study.student.vocab, signal.states.vocab)
        return placed(by_chunks(len(q_row_P), widest, apart), last_P, study)


def _by_index(chunks: Chunks) -> tuple[Tensor, Tensor]:
    """Student rows and teacher rows of each text, counted from the beginning of its first chunk."""
    columns = (chunks.row_C, chunks.q.first_C, chunks.q.last_C, chunks.p.first_C, chunks.p.last_C)
    texts: dict[int, tuple[int, int, int, int]] = {}
    for row, first, last, there, end in torch.stack(columns, -1).tolist():  # sync: texts differ in length
        begun, _, started, _ = texts.get(row, (first, last, there, end))
        texts[row] = begun, last, started, end
    pairs = [
        (first + step, there + step)
        for first, last, there, end in texts.values()
        for step in range(min(last - first, end - there) + 1)
    ]
    q_row_P, p_row_P = torch.tensor(pairs, dtype=torch.int64, device=chunks.row_C.device).reshape(-1, 2).T
    return q_row_P, p_row_P
