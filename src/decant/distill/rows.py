"""Training rows out of answers: one text a row, padded on the right, batches a pure function of the step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch

from decant.distill.answers import Answer
from decant.distill.trainer import Batch
from decant.errors import BadInput

ALIKE: Final = 8  # batches whose texts are sorted by length together: less padding, still mixed


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Every answer once an epoch, in an order that the seed gives; texts are cut behind `length` tokens.

    Raises BadInput where no answer is left of the cut.
    """

    answers: Sequence[Answer]
    batch: int = 8
    length: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        if not any(answer.start < min(len(answer.ids), self.length) for answer in self.answers):
            raise BadInput(
                f"none of {len(self.answers)} texts has an answer within {self.length} tokens; raise --length"
            )

    def __call__(self, step: int) -> Batch:
        """ids_BT and weights_BT: 1 where the answer is."""
        texts = [answer for answer in self.answers if answer.start < min(len(answer.ids), self.length)]
        each = -(-len(texts) // self.batch)
        epoch, at = divmod(step, each)
        rng = random.Random(f"{self.seed} {epoch}")
        order = rng.sample(range(len(texts)), len(texts))
        group = self.batch * ALIKE
        order = [
            place
            for first in range(0, len(order), group)
            for place in sorted(order[first : first + group], key=lambda place: len(texts[place].ids))
        ]
        batches = [order[first : first + self.batch] for first in range(0, len(order), self.batch)]
        chosen = [texts[place] for place in batches[rng.sample(range(each), each)[at]]]
        return padded(chosen, self.length)


def padded(answers: Sequence[Answer], length: int) -> Batch:
    """ids_BT, 0 beside padding, and weights_BT."""
    cut = [(answer.ids[:length], answer.start) for answer in answers]
    width = max(len(ids) for ids, _ in cut)
    ids_BT = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in cut])
    weights = [[0.0] * start + [1.0] * (len(ids) - start) + [0.0] * (width - len(ids)) for ids, start in cut]
    return ids_BT, torch.tensor(weights)
