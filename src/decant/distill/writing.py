"""Answers that are written while training goes on, as rows of a batch."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

from decant.distill.seams import Speaker
from decant.distill.texts import Text, TextBatch, padded
from decant.distill.trainer import Share
from decant.errors import BadInput
from decant.noise import sample_seed


@final
@dataclass(frozen=True, slots=True)
class Writing:
    """limit: ids of an answer, at most; seed: of all answers of a run."""

    limit: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise BadInput(f"an answer has at least one id; limit is {self.limit}")

    def seeds(self, step: int, share: Share, rows: int) -> list[int]:
        """Of this process's rows of a step: they depend on the row of the whole step, so processes do not matter."""
        own = sample_seed(self.seed, step + 1)
        return [sample_seed(own, 1 + share.rank + row * share.world) for row in range(rows)]

    def answered(self, batch: TextBatch, step: int, share: Share, speaker: Speaker) -> list[Text]:
        """The batch's prompts with new answers; a text without a prompt is written anew behind its first id."""
        prompts = prompts_of(batch)
        said = speaker.write(prompts, self.seeds(step, share, len(prompts)), self.limit)
        domains = batch.domains_B.tolist()  # sync: texts are lists
        return [
            answer(prompt, *ids_and_logp, domain=domain)
            for prompt, ids_and_logp, domain in zip(prompts, said, domains, strict=True)
        ]


def prompts_of(batch: TextBatch) -> list[list[int]]:
    """What is given of each row, at least its first id."""
    lengths = batch.prompts_B.tolist()  # sync: texts are lists
    return [ids[: max(1, length)] for ids, length in zip(batch.ids_BT.tolist(), lengths, strict=True)]


def answer(prompt: Sequence[int], ids: Sequence[int], logp: Sequence[float], domain: int = 0) -> Text:
    """A prompt and what was written behind it just now."""
    text = Text.answer([*prompt, *ids], len(prompt), domain=domain)
    return replace(text, logp=[*[0.0] * len(prompt), *logp])


def side_by_side(texts: Sequence[Text]) -> TextBatch:
    """None of them cut."""
    return padded(texts, max(len(text.ids) for text in texts))


def drawn(seed: int, step: int, what: str) -> random.Random:
    """A generator of this step's own, the same in all processes."""
    return random.Random(f"{seed} {step} {what}")
