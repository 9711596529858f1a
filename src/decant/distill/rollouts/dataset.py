"""Texts of a data set: every one once an epoch, in an order that the seed gives."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

from decant.distill.seams import Speaker
from decant.distill.texts import Text, TextBatch, padded
from decant.distill.trainer import Batch, Share
from decant.errors import BadInput

ALIKE: Final = 8  # batches whose texts are sorted by length together: less padding, still mixed


@final
@dataclass(frozen=True, slots=True)
class Dataset:
    """rows: texts of a step; length: tokens of a text, at most. Raises BadInput where nothing counts within that."""

    texts: Sequence[Text]
    rows: int = 8
    length: int = 512
    seed: int = 0

    writes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not any(text.teaches(self.length) for text in self.texts):
            raise BadInput(f"none of {len(self.texts)} texts has an answer within {self.length} tokens; raise --length")

    def start(self) -> None:
        """The step is all."""

    def batch(self, state: None, step: int, share: Share, student: Speaker | None = None) -> tuple[TextBatch, None]:
        """A pure function of the step."""
        chosen = self.chosen(step)
        return padded([chosen[row] for row in share.mine(len(chosen))], self.length), None

    def pieces(self, step: int) -> Batch:
        """ids_BT and weights_BT of a step, for a loss that asks for no more."""
        batch, _ = self.batch(None, step, Share())
        return batch.ids_BT, batch.weights_BT

    def observe(self, state: None, step: int, steps: int, nats: float) -> None:
        """Nothing is learnt."""

    def chosen(self, step: int) -> list[Text]:
        """The texts of a step."""
        texts = [text for text in self.texts if text.teaches(self.length)]
        each = -(-len(texts) // self.rows)
        epoch, at = divmod(step, each)
        rng = random.Random(f"{self.seed} {epoch}")
        order = rng.sample(range(len(texts)), len(texts))
        group = self.rows * ALIKE
        order = [
            place
            for first in range(0, len(order), group)
            for place in sorted(order[first : first + group], key=lambda place: len(texts[place].ids))
        ]
        batches = [order[first : first + self.rows] for first in range(0, len(order), self.rows)]
        found = [texts[place] for place in batches[rng.sample(range(each), each)[at]]]
        missing = self.rows - len(found)  # the last batch of an epoch is filled up, so that every process has rows
        return found + [texts[place] for place in rng.choices(range(len(texts)), k=missing)]
