"""A divergence between two laws at every position, a chunk of positions at a time."""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.distill.seams import Divergence, Gives, Study, by_chunks
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Pointwise:
    """temperature: softens both laws; nats are multiplied by its square, so that gradients keep their size.

    Source of the square: Hinton et al. 2015, arXiv:1503.02531.
    """

    divergence: Divergence
    temperature: float = 1.0

    needs: ClassVar[Gives] = "law"

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise BadInput(f"temperature must be above 0, got {self.temperature}")

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal = study.signal
        assert signal is not None

        def nats(rows: slice) -> Tensor:
            p, q, label_X = signal.law(rows).beside(study.student.logp(rows), study.at.label_N[rows])
            if self.temperature != 1:
                p, q = ((one / self.temperature).log_softmax(-1) for one in (p, q))
            p = study.target(p, q.detach(), label_X)
            return self.divergence(p, q) * self.temperature**2

        return by_chunks(len(study.at), study.student.vocab, nats)
