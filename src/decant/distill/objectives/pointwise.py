"""A divergence between two laws at every position, a tile of positions at a time."""

from dataclasses import dataclass
from typing import final

from torch import Tensor

from decant.distill.seams import Divergence, Gives, Study
from decant.distill.tiles import by_tiles
from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Pointwise:
    """temperature: softens both laws; nats are multiplied by its square, so that gradients keep their size.

    Source of the square: Hinton et al. 2015, arXiv:1503.02531.
    """

    divergence: Divergence
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise BadInput(f"temperature must be above 0, got {self.temperature}")

    @property
    def needs(self) -> Gives:
        """The whole law, where the divergence cannot do with the best ids and the rest."""
        return "dense" if getattr(self.divergence, "dense", False) else "law"

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        signal = study.signal
        assert signal is not None

        def nats(rows: slice, q: Tensor) -> Tensor:
            law = signal.law(rows).softened(self.temperature)
            if self.temperature != 1:
                q = (q / self.temperature).log_softmax(-1)
            p, q, label_X = law.beside(q, study.at.label_N[rows])
            p = study.target(p, q.detach(), label_X)
            return self.divergence(p, q) * self.temperature**2

        return by_tiles(study, nats)
