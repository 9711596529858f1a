"""A model in memory, read anew for every batch."""

from dataclasses import dataclass, field
from typing import ClassVar, final

import torch

from decant.distill.seams import Dense
from decant.distill.texts import Positions, TextBatch
from decant.models.student import Looks, States, read
from decant.models.teacher import Teacher


@final
@dataclass(frozen=True, slots=True, eq=False)
class Thought:
    """The teacher's states; its head runs a chunk at a time, so no law of the whole batch is ever in memory."""

    states: States

    @torch.no_grad()
    def law(self, rows: slice) -> Dense:
        """At these positions."""
        return Dense(self.states.logp(rows))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """model: frozen. looks: what objectives read besides its law: `looks_of(objectives, "teacher_looks")`."""

    model: Teacher
    looks: Looks = field(default_factory=Looks)

    gives: ClassVar[frozenset[str]] = frozenset({"law", "dense", "states"})

    @torch.no_grad()
    def signal(self, batch: TextBatch, at: Positions) -> Thought:
        """One forward pass."""
        ids_BT = batch.ids_BT.to(self.model.device)
        return Thought(read(self.model.network, ids_BT, at.row_N, at.at_N, self.looks))
