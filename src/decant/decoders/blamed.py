"""A constraint that says for whose request it raised, so that the others of a batch can go on.

Every row carries the mark of the request that it came from, whatever a decoder makes of its rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from typing import Any, Final, TypeVar, final

import torch
from torch import Tensor

from decant.protocols import Constraint, Forces
from decant.types import Draft, Scores, Verdict, select_rows

T = TypeVar("T")

MARKS: Final = count()  # none twice in a process, so that states of several decoders stay apart


@final
class AtFault(Exception):
    """errors: what a constraint raised, by the mark of the request for which it raises alone."""

    def __init__(self, errors: Mapping[int, Exception]) -> None:
        super().__init__("; ".join(map(str, errors.values())))
        self.errors = errors


@final
@dataclass(frozen=True, slots=True, eq=False)
class Marked:
    """The constraint's own state, and whose each of its rows is."""

    own: Any
    mark_B: Tensor


@final
@dataclass(frozen=True, slots=True)
class Blamed:
    """`constraint` itself. Where it raises, its rows are asked again one by one, without the model: raises AtFault with
    those that raise alone; what it raises in company only is passed on as it is."""

    constraint: Constraint[Any]

    def start(self, prompt_BT: Tensor) -> Marked:
        """A new mark for each prompt."""
        mark_B = torch.tensor([next(MARKS) for _ in prompt_BT], device=prompt_BT.device)
        return Marked(_asked(mark_B, self.constraint.start, prompt_BT), mark_B)

    def adjust(self, state: Marked, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """The constraint's own."""
        return _asked(state.mark_B, self.constraint.adjust, state.own, draft, logits_BMV)

    def observe(self, state: Marked, verdict: Verdict, scores: Scores) -> Marked:
        """The constraint's own."""
        return Marked(_asked(state.mark_B, self.constraint.observe, state.own, verdict, scores), state.mark_B)

    def forced(self, state: Marked, depth: int) -> Tensor:
        """Of a constraint that forces; else nothing."""
        if not isinstance(self.constraint, Forces):
            return torch.empty(0, 0, dtype=torch.int64)
        return _asked(state.mark_B, self.constraint.forced, state.own, depth)


def marks_of(state: Any) -> frozenset[int]:
    """Whose rows a decoder's state holds, as far as constraints in it are blamed."""
    if isinstance(state, Marked):
        return frozenset(state.mark_B.tolist())  # sync: faults are told on the host
    parts = state if isinstance(state, tuple) else ()
    if is_dataclass(state) and not isinstance(state, type):
        parts = tuple(getattr(state, field.name) for field in fields(state))
    return frozenset[int]().union(*map(marks_of, parts))


def _asked(mark_B: Tensor, ask: Callable[..., T], *given: Any) -> T:
    try:
        return ask(*given)
    except Exception as error:  # of whatever kind: it came from the constraint
        found: dict[int, Exception] = {}
        for row, mark in enumerate(mark_B.tolist()):
            alone = (select_rows(part, torch.tensor([row], device=mark_B.device)) for part in given)
            try:
                ask(*alone)
            except Exception as own:
                found.setdefault(mark, own)
        if not found:
            raise
        raise AtFault(found) from error
