"""Packed training batches: code and task instances, a pure function of (seed, step).

A row is filled with documents until it is full. Instances are never cut: when the next one does not fit, code fills
the rest. Code counts with every token, an instance with its answer alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from decant.house.tasks import Instance, draw_any
from decant.house.tokenizer import END, END_OF_TEXT, chat

CODE_ROWS: Final = 0.27  # rows that are all code
CODE_PIECES: Final = 0.06  # of the documents in the other rows; fills add about a tenth of their tokens
MISSES: Final = 3  # instances that did not fit before code fills the row


@final
@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of steps with one shape of batch."""

    steps: int
    rows: int
    length: int


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """Batches for a whole run. `code` is the tokenised training source, `functions` feed the edits.

    code_rows: share of the rows that are all code; 1: who learns from them never sees a task.
    """

    tokenizer: Tokenizer
    code: np.ndarray
    functions: Sequence[str]
    phases: Sequence[Phase]
    seed: int = 0
    code_rows: float = CODE_ROWS

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """ids_BT and weights_BT of a step."""
        rng = random.Random(f"{self.seed} {step}")
        phase = self._phase(step)
        rows = [self._row(rng, phase.length) for _ in range(phase.rows)]
        ids_BT = torch.tensor([ids for ids, _ in rows])
        return ids_BT, torch.tensor([weights for _, weights in rows], dtype=torch.float32)

    def _phase(self, step: int) -> Phase:
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]

    def _row(self, rng: random.Random, length: int) -> tuple[list[int], list[int]]:
        if rng.random() < self.code_rows:
            return self._code(rng, length)
        ids: list[int] = []
        weights: list[int] = []
        misses = 0
        while len(ids) < length:
            room = length - len(ids)
            if misses == MISSES or rng.random() < CODE_PIECES:
                more = self._code(rng, min(room, rng.randint(40, 200)) if misses < MISSES else room)
            else:
                more = encode_instance(self.tokenizer, draw_any(rng, self.functions))
            if len(more[0]) > room:
                misses += 1
                continue
            ids += more[0]
            weights += more[1]
        return ids, weights

    def _code(self, rng: random.Random, length: int) -> tuple[list[int], list[int]]:
        start = rng.randrange(len(self.code) - length)
        return self.code[start : start + length].tolist(), [1] * length


def encode_instance(tokenizer: Tokenizer, instance: Instance) -> tuple[list[int], list[int]]:
    """Ids of prompt and answer in the chat template, and a weight of 1 from the answer's first to its end token."""
    asked = tokenizer.encode(chat(instance.prompt)).ids
    answered = tokenizer.encode(instance.answer + END).ids
    newline = tokenizer.encode("\n").ids
    return [*asked, *answered, *newline], [0] * len(asked) + [1] * len(answered) + [0] * len(newline)


def encode_code(tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """All texts after one another, each closed by the end-of-text token."""
    encoded = tokenizer.encode_batch_fast([text + END_OF_TEXT for text in texts])
    return np.concatenate([np.asarray(one.ids, dtype=np.uint16) for one in encoded])
