"""Speakers, texts and rollouts small enough to know everything about."""

import random
from dataclasses import dataclass, field

from decant.distill.rollouts.corrected import Corrected
from decant.distill.rollouts.dataset import Dataset
from decant.distill.rollouts.ddk import DDK
from decant.distill.teachers.live import Live
from decant.distill.texts import Text, TextBatch
from decant.distill.writing import Writing
from decant.models.build import LlamaSpec, untrained
from decant.models.teacher import Teacher

VOCAB, END = 24, 0
WRITING = Writing(limit=6, seed=5)


@dataclass(frozen=True)
class Hashed:
    """A speaker whose answer is a hash of prompt and seed; its share of a teacher is part of that."""

    share: float = 0.0

    def mixed(self, share: float) -> "Hashed":
        return Hashed(share)

    def write(self, prompts, seeds, limit):
        found = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            rng = random.Random(f"{prompt} {seed} {self.share}")
            said = [(rng.randrange(VOCAB), -rng.random() - 0.01) for _ in range(limit)]
            ids, logp = [token for token, _ in said], [one for _, one in said]
            stop = ids.index(END) + 1 if END in ids else limit
            found.append((ids[:stop], logp[:stop]))
        return found


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)
    return network


def texts(count: int = 10, domain: int = 0, seed: int = 0) -> list[Text]:
    rng = random.Random(seed)
    made = []
    for number in range(count):
        length = rng.randint(6, 12)
        ids = [rng.randrange(1, VOCAB) for _ in range(length)]
        made.append(Text.answer(ids, rng.randint(1, 4), number, domain))
    return made


DATA = Dataset(texts(), rows=5)


@dataclass(frozen=True)
class Lag:
    """Losses that are a list."""

    own: list[float]
    theirs: list[float]
    asked: list[str] = field(default_factory=list)

    def student(self):
        self.asked.append("student")
        return self.own

    def teacher(self):
        self.asked.append("teacher")
        return self.theirs


def corrected(**knobs) -> Corrected:
    live = Live(Teacher("toy", model(1).eval().requires_grad_(False)))
    return Corrected(DATA, live, model(2), frozenset({END}), WRITING, micro=3, **knobs)


def ddk(own=(1.0, 2.0, 0.5), theirs=(0.5, 0.5, 0.5), **knobs) -> DDK:
    domains = [Dataset(texts(domain=number, seed=number), rows=5) for number in range(len(own))]
    return DDK(domains, Lag(list(own), list(theirs)), **knobs)


def rows(batch: TextBatch) -> list[Text]:
    return [batch.text(row) for row in range(len(batch))]
