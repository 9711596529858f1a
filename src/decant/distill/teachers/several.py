"""Several teachers as one: the weighted mean of their laws, of probabilities or of logarithms.

They spell texts as the student does; ids that one of them lacks are left out. Equal teachers are one teacher. What the
multi-teacher BERTs do is reconstructed from memory; both means are Hinton's.
Source: Hinton et al. 2015, arXiv:1503.02531 (both means); Avram et al. 2022, arXiv:2112.12650 (several teachers).
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from decant.distill.seams import Dense, Signal, Teacher, whole
from decant.distill.texts import Positions, TextBatch
from decant.errors import BadInput, IncompatibleParts
from decant.numerics import floored


@final
@dataclass(frozen=True, slots=True)
class Several:
    """shares: what each teacher counts, above 0, scaled to sum to 1; empty: all alike.

    mean: "probabilities" says what any teacher says; "logs", the normalised geometric mean, what none of them excludes.
    One forward pass of each a batch. Raises IncompatibleParts for a teacher that gives no dense law.
    """

    teachers: tuple[Teacher, ...]
    shares: tuple[float, ...] = ()
    mean: Literal["probabilities", "logs"] = "probabilities"

    gives: ClassVar[frozenset[str]] = frozenset({"law", "dense"})

    def __post_init__(self) -> None:
        if not self.teachers:
            raise BadInput("several teachers are at least one, got none")
        if self.mean not in ("probabilities", "logs"):
            raise BadInput(f"mean is 'probabilities' or 'logs', not {self.mean!r}")
        wanted = self.shares or (1.0,) * len(self.teachers)
        if len(wanted) != len(self.teachers) or not all(0 < share < math.inf for share in wanted):
            raise BadInput(f"{len(self.teachers)} teachers need as many shares above 0 or none, not {self.shares}")
        for teacher in self.teachers:
            if "dense" not in teacher.gives:
                raise IncompatibleParts(
                    f"Several mixes laws over the whole vocabulary, and {type(teacher).__name__} gives "
                    f"{', '.join(sorted(teacher.gives))}; take live teachers"
                )

    def signal(self, batch: TextBatch, at: Positions) -> "Mixed":
        """Every teacher's."""
        shares = self.shares or (1.0,) * len(self.teachers)
        parts = tuple(teacher.signal(batch, at) for teacher in self.teachers)
        return Mixed(parts, tuple(math.log(one / sum(shares)) for one in shares), self.mean)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Mixed:
    """logs: of the shares."""

    parts: tuple[Signal, ...]
    logs: tuple[float, ...]
    mean: str

    @torch.no_grad()
    def law(self, rows: slice) -> Dense:
        """The mean of the laws at these positions."""
        each = [whole(part.law(rows)) for part in self.parts]
        size = min(logp_XV.shape[-1] for logp_XV in each)
        each = [one if one.shape[-1] == size else one[..., :size].log_softmax(-1) for one in each]
        if self.mean == "logs":
            total = sum(math.exp(log) * floored(one) for log, one in zip(self.logs, each, strict=True))
            assert isinstance(total, torch.Tensor)
            return Dense(total.log_softmax(-1))
        # One after the other: a stack of all laws would be as many times as large.
        total = each[0] + self.logs[0]
        for log, one in zip(self.logs[1:], each[1:], strict=True):
            total = torch.logaddexp(total, one + log)
        return Dense(total)
