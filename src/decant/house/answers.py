"""What house:diffusion learns from: tasks, ParallelBench's tasks and pieces of code, laid out as it decodes them.

A row is a question, its answer, the end token, and end tokens up to the end of a block, as an answer is decoded in
canvases that are longer than it. Rows of a step are about equally long; a step is a pure function of its number.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from decant.house.mixture import encode_instance
from decant.house.parallel import draw_any as draw_parallel
from decant.house.tasks import draw_any
from decant.house.tokenizer import END
from decant.house.tokenizer import ids as ids_of
from decant.types import PAD

POOL: Final = 96  # rows that a step picks its own from, alike in length
CODE: Final = 0.06  # of the rows
PARALLEL: Final = 0.25  # of the rows: answers whose words depend on each other, most of them free to choose
LONGEST: Final = 256  # canvas
LONGER: Final = 0.15  # chance of one more block than the answer needs, and again
TAIL: Final = 0.1  # what an end token behind the first counts for: it is soon known


@final
@dataclass(frozen=True, slots=True)
class Answers:
    """block: canvases are whole blocks of so many places. room: places of a step, at most, padding included."""

    tokenizer: Tokenizer
    code: np.ndarray
    functions: Sequence[str]
    block: int
    room: int
    seed: int = 0

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """ids_BT, PAD behind, and weights_BT: 0 for what is given."""
        rng = random.Random(f"answers {self.seed} {step}")
        rows = sorted((self._row(rng) for _ in range(POOL)), key=lambda row: len(row[0]))
        last = rng.randrange(len(rows))
        width = len(rows[last][0])
        first = max(0, last + 1 - max(1, self.room // width))
        chosen = rows[first : last + 1]
        ids = [ids + [PAD] * (width - len(ids)) for ids, _ in chosen]
        weights = [weights + [0.0] * (width - len(weights)) for _, weights in chosen]
        return torch.tensor(ids), torch.tensor(weights)

    def _row(self, rng: random.Random) -> tuple[list[int], list[float]]:
        if rng.random() < CODE:
            length = rng.randint(64, LONGEST)
            start, given = rng.randrange(len(self.code) - length), rng.randint(1, length // 2)
            return self.code[start : start + length].tolist(), [0.0] * given + [1.0] * (length - given)
        while True:
            parallel = rng.random() < PARALLEL / (1 - CODE)
            instance = draw_parallel(rng) if parallel else draw_any(rng, self.functions)
            ids, weights = encode_instance(self.tokenizer, instance)
            answered = int(sum(weights))
            if answered <= LONGEST:
                break
        asked = weights.index(1)
        blocks = -(-answered // self.block)
        while blocks * self.block < LONGEST and rng.random() < LONGER:
            blocks += 1
        tail = blocks * self.block - answered
        (end,) = ids_of(self.tokenizer, END)
        return ids[: asked + answered] + [end] * tail, [0.0] * asked + [1.0] * answered + [TAIL] * tail
