"""Questions to an engine and its twin, round by round; within a round they are mixed, so neither has a better hour."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, final

from decant.noise import sample_seed
from decant.prove.engine.served import Speaks

Side = Literal["engine", "twin"]
Watch = Callable[[str, int], None]
"""Called after each answer with what it was for, and 1."""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """crowd: whose tally the answer goes to. turn: the round in which it is asked. prompt: its index."""

    side: Side
    crowd: str
    turn: int
    prompt: int
    max_tokens: int
    temperature: float


Answers = list[tuple[Question, str]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An engine with speculation and the same without. at_once: questions under way, of both together."""

    engine: Speaks
    twin: Speaks
    prompts: Sequence[Any]
    at_once: int = 8
    seed: int = 0

    def ask(self, questions: list[Question], text: str, watch: Watch) -> Answers:
        """The answers, in another order. The first failure ends it."""
        mixed = list(questions)
        random.Random(sample_seed(self.seed, len(mixed))).shuffle(mixed)
        mixed.sort(key=lambda one: one.turn)

        def answered(numbered: tuple[int, Question]) -> tuple[Question, str]:
            number, one = numbered
            speaker = self.engine if one.side == "engine" else self.twin
            seed = sample_seed(self.seed, 1 + number) % 2**31  # as much as every server reads
            return one, speaker.say(self.prompts[one.prompt], one.max_tokens, one.temperature, seed)

        found: Answers = []
        with ThreadPoolExecutor(self.at_once) as pool:
            try:
                for answer in pool.map(answered, enumerate(mixed)):
                    found.append(answer)
                    watch(text, 1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return found


def texts(answers: Answers, crowd: str, prompt: int) -> list[str]:
    """What a crowd said to one prompt, round by round."""
    return [text for group in rounds(answers, crowd, prompt) for text in group]


def rounds(answers: Answers, crowd: str, prompt: int) -> list[list[str]]:
    """What a crowd said to one prompt, each round by itself."""
    found: dict[int, list[str]] = {}
    for one, text in answers:
        if one.crowd == crowd and one.prompt == prompt:
            found.setdefault(one.turn, []).append(text)
    return [found[turn] for turn in sorted(found)]
