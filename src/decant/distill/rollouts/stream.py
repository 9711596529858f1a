"""Texts without end: rows that somebody makes for a step's number, each filled to its last token."""

from dataclasses import dataclass
from typing import ClassVar, final

import torch

from decant.distill.seams import Speaker
from decant.distill.texts import TextBatch
from decant.distill.trainer import Batches, Share


@final
@dataclass(frozen=True, slots=True)
class Stream:
    """pieces: step -> ids_BT and weights_BT, a pure function of the step. Rows have no prompt of their own."""

    pieces: Batches

    writes: ClassVar[bool] = False

    def start(self) -> None:
        """The step is all."""

    def batch(self, state: None, step: int, share: Share, student: Speaker | None = None) -> tuple[TextBatch, None]:
        """Whatever the step's number makes."""
        ids_BT, weights_BT = (one[share.rank :: share.world] for one in self.pieces(step))
        nothing_B = torch.zeros(len(ids_BT), dtype=torch.int64)
        return TextBatch(ids_BT, weights_BT, nothing_B, nothing_B, nothing_B - 1, torch.zeros(ids_BT.shape)), None

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""
