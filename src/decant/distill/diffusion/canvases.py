"""Texts laid out as a model that fills in masks decodes them: a prompt, its answer, and end tokens up to the end of a
canvas, which are learnt too. A step's batch is a pure function of the step.

Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA: end tokens behind an answer are part of it).
"""

import random
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from decant.distill.rollouts.dataset import Dataset
from decant.distill.texts import Text
from decant.errors import BadInput
from decant.types import PAD

BLOCK: Final = 32  # places
LONGEST: Final = 256  # places to which end tokens may fill up a canvas
LONGER: Final = 0.4  # chance that a canvas has one more block than its answer needs, and again
TAIL: Final = 0.1  # what an end token behind the first counts for: it is soon known, and most of a long canvas


@final
@dataclass(frozen=True, slots=True)
class Canvases:
    """dataset: which texts a step reads. end: the id that fills up a canvas; None: nothing does. block: a canvas is
    whole blocks of so many places."""

    dataset: Dataset
    end: int | None
    block: int = BLOCK

    def __post_init__(self) -> None:
        if self.block < 1:
            raise BadInput(f"a block has at least one place, not {self.block}")

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """ids_BT, PAD behind, and weights_BT: 0 for what is given, the first place of a text always."""
        chance = random.Random(f"canvases {self.dataset.seed} {step}")
        rows = [self._row(text, chance) for text in self.dataset.chosen(step)]
        width = max(len(ids) for ids, _ in rows)
        ids = [ids + [PAD] * (width - len(ids)) for ids, _ in rows]
        weights = [weights + [0.0] * (width - len(weights)) for _, weights in rows]
        return torch.tensor(ids), torch.tensor(weights)

    def _row(self, text: Text, chance: random.Random) -> tuple[list[int], list[float]]:
        """A text without a prompt is cut anywhere, and up to half of it is given."""
        length = self.dataset.length
        if not text.prompt:
            first = chance.randint(0, max(0, len(text.ids) - length))
            ids, weights = text.ids[first : first + length], text.weights[first : first + length]
            given = chance.randint(1, max(1, len(ids) // 2))
            return ids, [0.0] * given + weights[given:]
        ids, weights = text.ids[:length], [0.0, *text.weights[1:length]]
        if self.end is None or len(text.ids) > length or ids[-1] != self.end:
            return ids, weights
        answered = next((at for at, weight in enumerate(reversed(weights)) if not weight), len(weights))
        places = -(-answered // self.block) * self.block
        while places + self.block <= LONGEST and chance.random() < LONGER:
            places += self.block
        tail = min(places - answered, length - len(ids))
        return ids + [self.end] * tail, weights + [TAIL] * tail
