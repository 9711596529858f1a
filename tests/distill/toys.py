"""Two tokenizers and two models, small enough to be known: what tests of teachers across tokenizers share."""

import random
from dataclasses import replace

from torch import Tensor

from decant.distill.chunks import Spans
from decant.distill.seams import Study
from decant.distill.teachers.across import Across
from decant.distill.texts import Positions, Text, TextBatch
from decant.models.build import LlamaSpec, untrained
from decant.models.student import States, read
from decant.models.teacher import Teacher
from decant.vocab.vocabulary import Vocabulary

LETTERS = Vocabulary([None, *(bytes([97 + n]) for n in range(23))], {"<end>": 0}, {"eos": 0})
ONE = Vocabulary([None, b"a", b"b", b"c", b" ", b"ab", b"bc"], {"<end>": 0}, {"eos": 0})
OTHER = Vocabulary([b"c", b"b", b"a", b" ", None, b"ba", b" a", b"bab"], {"</s>": 4}, {"eos": 4})


def model(seed: int, vocab: int, width: int = 16):
    network = untrained(LlamaSpec(vocab, width, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def teacher(vocab: int, seed: int = 1) -> Teacher:
    return Teacher("toy", model(seed, vocab).eval().requires_grad_(False))


def across(student: Vocabulary, other: Vocabulary, **parts) -> Across:
    return Across.of(teacher(len(other.pieces)), student, other, **parts)


def texts(vocabulary: Vocabulary, letters: bytes, count: int = 6) -> list[Text]:
    rng = random.Random(0)
    made = []
    for number in range(count):
        ids = vocabulary.fitted(bytes(rng.choices(letters, k=rng.randint(9, 20))))
        made.append(Text.answer([*ids, vocabulary.roles["eos"]], rng.randint(1, 3), number))
    return made


def study_of(batch: TextBatch, source: Across, network) -> Study:
    at = Positions.of(batch)
    states = read(network, batch.ids_BT, at.row_N, at.at_N)
    return Study(batch, at, states, source.signal(batch, at), lambda p, q, label: p, 0)


def free(logits_XV: Tensor) -> States:
    """A model that says whatever stands in a table."""
    return States(logits_XV, lambda rows: rows, logits_XV.shape[-1])


def tabled(study: Study, q_NV: Tensor, p_MU: Tensor) -> Study:
    assert isinstance(study.signal, Spans)
    return replace(study, student=free(q_NV), signal=replace(study.signal, states=free(p_MU)))
