"""The text's own tokens: plain fine-tuning, and sequence-level distillation where the teacher wrote the text.

Source: Kim & Rush 2016, arXiv:1606.07947.
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.distill.seams import Gives, Study
from decant.distill.tiles import by_tiles


@final
@dataclass(frozen=True, slots=True)
class CrossEntropy:
    """-log q(label)."""

    needs: ClassVar[Gives] = "nothing"

    def __call__(self, study: Study) -> Tensor:
        """nats_N."""
        label_N1 = study.at.label_N[:, None]

        def nats(rows: slice, q: Tensor) -> Tensor:
            return -q.gather(-1, label_N1[rows])[:, 0]

        return by_tiles(study, nats)
