"""What tests of caches share: texts, a tiny teacher, and one as wide as one likes."""

import random
from pathlib import Path

import torch

from decant.distill.caching import Author, Storing, fingerprint, tokenizer_hash
from decant.distill.seams import Dense
from decant.distill.teachers.live import Live
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.models.build import LlamaSpec, untrained
from decant.models.teacher import Teacher

VOCAB, SPELT = 48, tokenizer_hash({"a": 0, "b": 1})
STORING = Storing(k=8, per_shard=5, batch=3)


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def texts(count: int = 18, longest: int = 14, vocab: int = VOCAB) -> list[Text]:
    rng = random.Random(0)
    return [
        Text.answer([rng.randrange(vocab) for _ in range(rng.randint(6, longest))], rng.randint(1, 4), 2 * number)
        for number in range(count)
    ]


def toy() -> Live:
    return Live(Teacher("toy", model(1).eval().requires_grad_(False)))


def authored(live: Live) -> Author:
    return Author(live, "toy", fingerprint(live.model.network), SPELT)


class Table:
    """A teacher as wide as one likes: what follows an id depends on that id alone."""

    gives = frozenset({"law", "dense"})

    def __init__(self, vocab: int) -> None:
        self.vocab = vocab

    def signal(self, batch: TextBatch, at: Positions) -> "Table":
        made = Table(self.vocab)
        made.ids_N = batch.ids_BT[at.row_N, at.at_N]
        return made

    def law(self, rows: slice) -> Dense:
        each = torch.arange(self.vocab, dtype=torch.float64)
        seen_X1 = self.ids_N[rows].double()[:, None]
        return Dense((3 * torch.sin(each * (1 + seen_X1 % 89))).float().log_softmax(-1))


ALL = padded(texts(), 99)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
