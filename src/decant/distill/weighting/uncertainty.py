"""Tokens count by how uncertain somebody is of them: nats ** gamma, of the teacher, of the student, or of the student
about what the teacher says (deviation-aware distillation, DAD).

The default exponent of DAD is not verified.
Source: Chen et al. 2024, arXiv:2402.11960 (DB-LLM: DAD).
"""

from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor

from decant.distill.choosing import evened
from decant.distill.seams import Gives, Study, by_chunks
from decant.errors import BadInput, IncompatibleParts
from decant.numerics import floored

Whose = Literal["both", "teacher", "student"]


@final
@dataclass(frozen=True, slots=True)
class Uncertainty:
    """whose: both is the cross-entropy - sum p log q; teacher, student: an entropy.

    gamma: 0 weighs all alike, below 0 the certain ones more. even: as in `AdaSpec`.
    """

    whose: Whose = "both"
    gamma: float = 0.1
    even: bool = False

    def __post_init__(self) -> None:
        if self.whose not in ("both", "teacher", "student"):
            raise BadInput(f"whose uncertainty? both, teacher or student, not {self.whose!r}")

    @property
    def needs(self) -> Gives:
        """A law, unless the student's own is all that counts."""
        return "nothing" if self.whose == "student" else "law"

    def start(self) -> None:
        """Nothing is remembered."""

    @torch.no_grad()
    def weights(self, state: None, study: Study, nats_N: Tensor) -> Tensor:
        """factor_N. Raises IncompatibleParts where it needs a teacher and there is none."""
        signal, at = study.signal, study.at
        if signal is None and self.whose != "student":
            raise IncompatibleParts(f"Uncertainty of {self.whose} needs a teacher; take student")

        def uncertain(rows: slice) -> Tensor:
            q_XV = floored(study.student.logp(rows))
            if signal is None or self.whose == "student":
                return -(q_XV.exp() * q_XV).sum(-1)
            p, q, _ = signal.law(rows).beside(q_XV, at.label_N[rows])
            return -(p.exp() * floored(q if self.whose == "both" else p)).sum(-1)

        # A law that is certain has no entropy; its power is held finite.
        found_N = by_chunks(len(at), study.student.vocab, uncertain).clamp_min(1e-6)
        factor_N = found_N.pow(self.gamma).to(nats_N)
        return evened(factor_N, at.weight_N, at.row_N) if self.even else factor_N

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
