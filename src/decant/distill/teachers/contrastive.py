"""Contrastive: a teacher further along the way from one model to another than the first of them stands.

Of a model taught by DPO, z, and one taught with chosen and rejected swapped, z', the student learns z + w (z - z'),
where w = kappa sum |p - p'| + least at each position: far where the two disagree. To earn the reward beta log(pi / pi')
under a penalty b KL is to learn that law by reverse KL with the factor b, and b = beta / w. With the reference in the
place of the swapped model and `around="contrast"` it is z' + w (z - z'), the plain theorem. Both forms, w and the
factor were read in the authors' code.
Source: Zhang et al. 2025, arXiv:2503.02832 (AlignDistil).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor

from decant.distill.seams import Dense, Signal, Teacher, whole
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput, IncompatibleParts
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class Contrastive:
    """aligned: the DPO model; contrast: the swapped one, or the reference.

    beta:   of the DPO. kappa: of w; the paper's 10 is for the data set's texts, 15 for the student's own.
    least:  of w, so the factor beta / w is at most beta / least. fixed: w everywhere, instead.
    around: what the difference is added to.
    Raises IncompatibleParts for a teacher that gives no dense law.
    """

    aligned: Teacher
    contrast: Teacher
    beta: float = 0.1
    kappa: float = 10.0
    least: float = 1e-3
    fixed: float | None = None
    around: Literal["aligned", "contrast"] = "aligned"

    gives: ClassVar[frozenset[str]] = frozenset({"law", "dense"})

    def __post_init__(self) -> None:
        if self.beta <= 0 or self.least <= 0 or self.kappa < 0 or (self.fixed is not None and self.fixed <= 0):
            raise BadInput(
                f"beta, least and fixed must be above 0 and kappa at least 0, got beta {self.beta}, "
                f"least {self.least}, fixed {self.fixed}, kappa {self.kappa}"
            )
        if self.around not in ("aligned", "contrast"):
            raise BadInput(f"around is 'aligned' or 'contrast', not {self.around!r}")
        for teacher in (self.aligned, self.contrast):
            if "dense" not in teacher.gives:
                raise IncompatibleParts(
                    f"Contrastive compares laws over the whole vocabulary, and {type(teacher).__name__} gives "
                    f"{', '.join(sorted(teacher.gives))}; take live teachers"
                )

    def signal(self, batch: TextBatch, at: Positions) -> "Contrasted":
        """One forward pass of each."""
        return Contrasted(self.aligned.signal(batch, at), self.contrast.signal(batch, at), self)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Contrasted:
    """What both think."""

    aligned: Signal
    contrast: Signal
    knobs: Contrastive

    @torch.no_grad()
    def law(self, rows: slice) -> Dense:
        """Extrapolated, float32; a constant in the logits of a row cancels, so laws do as well as logits."""
        p, other, w_X1 = self._read(rows)
        from_XV = p if self.knobs.around == "aligned" else other
        return Dense((from_XV + w_X1 * (p - other)).log_softmax(-1))

    @torch.no_grad()
    def factor(self, rows: slice) -> Tensor:
        """beta / w, factor_X: what the nats of each position are multiplied by."""
        return self.knobs.beta / self._read(rows)[2][:, 0]

    def _read(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Both laws over the ids that both have, and w_X1."""
        p_XV, other_XV = (whole(part.law(rows)) for part in (self.aligned, self.contrast))
        size = min(p_XV.shape[-1], other_XV.shape[-1])
        p_XV, other_XV = (floored(one[..., :size].log_softmax(-1)) for one in (p_XV, other_XV))
        w_X1 = self.knobs.kappa * (p_XV.exp() - other_XV.exp()).abs().sum(-1, keepdim=True) + self.knobs.least
        if self.knobs.fixed is not None:
            w_X1 = torch.full_like(w_X1, self.knobs.fixed)
        return p_XV, other_XV, w_X1
