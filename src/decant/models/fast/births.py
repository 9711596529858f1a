"""Rows that are born in the middle of a network: they enter a layer as a linear map of another row's state there.

Below that layer such a row computes garbage, which only rows of its own kind read, whose own states are not born yet
either.
Source: Wu et al. 2024, arXiv:2404.12022 (Hidden Transfer).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import linear

from decant.models.spans import Span


@final
@dataclass(frozen=True, slots=True, eq=False)
class Births:
    """first: the id of a row one place behind its node; id `first` + j is j places further.

    layers:   of each, the layer that it enters (0: in place of an embedding); they ascend, since a row reads those in
        front of it.
    maps_JDD: what the node's state is multiplied with; narrower than states where the model was enlarged, whose added
        columns are zero in every row.
    """

    first: int
    layers: tuple[int, ...]
    maps_JDD: Tensor

    def ward(self) -> "Ward":
        """For the forwards of one call."""
        return Ward(self)


@final
class Ward:
    """The births of one call. A draft may be cut into several forwards, and a row's node lie in an earlier one."""

    def __init__(self, births: Births) -> None:
        self.births = births
        self.known: dict[tuple[int, int], int] = {}  # request and slot -> row, counted through all forwards
        self.first = self.rows = 0  # rows before this forward's, and with them
        self.unborn: list[list[tuple[int, int]]] = [[] for _ in births.layers]  # row of this forward, row of its node
        self.states: dict[int, list[Tensor]] = {layer: [] for layer in births.layers}

    def admit(self, spans: Sequence[Span]) -> None:
        """The rows of the next forward."""
        self.first = self.rows
        self.unborn = [[] for _ in self.births.layers]
        for span in spans:
            ids, places = span.ids_Q.tolist(), span.positions().tolist()  # sync: who is born depends on the draft
            for slot, (token, position) in enumerate(zip(ids, places, strict=True), span.first):
                self.known[span.request, slot] = self.rows
                if token >= self.births.first:
                    which = token - self.births.first
                    node = self.known[span.request, _slot_at(span, slot, position - which - 1)]
                    self.unborn[which].append((self.rows - self.first, node))
                self.rows += 1

    def born(self, layer: int, x_RD: Tensor) -> Tensor:
        """x_RD, which is about to enter `layer`, with those that are born there; overwrites their rows."""
        if layer not in self.states:
            return x_RD
        states, width = self.states[layer], self.births.maps_JDD.shape[-1]
        states.append(x_RD[: self.rows - self.first])
        nodes_RD = states[0] if len(states) == 1 else torch.cat(states)
        for pairs, at, map_DD in zip(self.unborn, self.births.layers, self.births.maps_JDD, strict=True):
            if at == layer and pairs:
                rows_C, nodes_C = torch.tensor(pairs, device=x_RD.device).unbind(-1)
                x_RD[rows_C, :width] = linear(nodes_RD[nodes_C, :width], map_DD)
        return x_RD


def _slot_at(span: Span, slot: int, position: int) -> int:
    """Where the token at `position` lies that the row in `slot` sees; in front of the draft slot and position agree."""
    if position < span.length:
        return position
    assert span.tree is not None
    there_N = span.tree.sees_NN[slot - span.length] & (span.tree.position_N == position)
    return span.length + int(there_N.nonzero())
