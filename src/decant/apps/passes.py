"""pass@k of a model on questions whose right answer is known: house:tasks, or any JSONL with `answer` in its lines."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from decant import house
from decant.apps.prompts import JSONL, Prompt, encode, read
from decant.apps.samples import Poll, drawn
from decant.apps.session import Limits, Session
from decant.bench.coverage import Coverage, coverage
from decant.errors import BadInput
from decant.house.tasks import Instance, correct
from decant.noise import sample_seed

Progress = Callable[[int, int, str], None]
"""(done, total, what is under way)"""


@final
@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and its right answer; the instance's task is "" where the file does not say."""

    prompt: Prompt
    instance: Instance


@final
@dataclass(frozen=True, slots=True)
class Tried:
    """One question: how many samples were right, whether the answer that they voted for was, how many were cut."""

    task: str
    right: int
    voted: bool
    cut: int
    tokens: int
    steps: int


def questions(source: str, limit: int | None = None) -> list[Question]:
    """The first questions of a file, or of house:tasks. Raises BadInput, naming the line without an answer."""
    prompts = read(source, limit) if source != "-" else []
    path = house.prompts(source) if source.startswith("house:") else Path(source)
    if not prompts or path.suffix not in JSONL:
        raise BadInput(
            f"pass@k needs right answers, which {source} cannot hold; give a JSONL file with answer in its lines"
        )
    lines = [line for line in path.read_text(encoding="utf-8-sig").split("\n") if line.strip()]
    return [_question(prompt, json.loads(line)) for prompt, line in zip(prompts, lines, strict=False)]


def _question(prompt: Prompt, row: dict[str, Any]) -> Question:
    answer = row.get("answer")
    if not isinstance(answer, str):
        raise BadInput(f"{prompt.where} has no answer; pass@k needs a text under answer in every line")
    return Question(prompt, Instance(str(row.get("task", "")), prompt.where, answer))


def passes(
    session: Session, asked: Sequence[Question], poll: Poll, seed: int, limits: Limits, told: Progress
) -> dict[str, Any]:
    """Draw `poll.count` samples of each question; JSON-ready: pass@k, its power law, the share of right votes, by task.

    Question i has the seed sample_seed(seed, i). Raises BadInput where samples would be stopped early.
    """
    if poll.first is not None:
        raise BadInput("pass@k counts whole samples, and a first-finish search stops them; leave the first count out")
    ids = encode([question.prompt for question in asked], session.led)
    tried: list[Tried] = []
    for at, (question, prompt) in enumerate(zip(asked, ids, strict=True)):
        told(at, len(asked), f"question {at + 1} of {len(asked)}")
        tried.append(_tried(session, question.instance, prompt, poll, sample_seed(seed, at), limits))
    told(len(asked), len(asked), "done")
    by_task: dict[str, list[Tried]] = {}
    for one in tried:
        by_task.setdefault(one.task, []).append(one)
    return {
        **_measured(tried, poll.count, seed).report(),
        "voted": _share(tried),
        "by_task": [
            {
                "task": task,
                "questions": len(own),
                "voted": _share(own),
                "pass_at_k": _measured(own, poll.count, seed).report()["pass_at_k"],
            }
            for task, own in by_task.items()
        ],
        "questions": [{"task": one.task, "right": one.right, "voted": one.voted} for one in tried],
        "cut": sum(one.cut for one in tried),
        "tokens": sum(one.tokens for one in tried),
        "target_calls": sum(one.steps for one in tried),
    }


def _tried(session: Session, instance: Instance, prompt: list[int], poll: Poll, seed: int, limits: Limits) -> Tried:
    found = drawn(session, prompt, poll, seed, limits, rescore=poll.vote != "majority")
    right = sum(correct(instance, sample.text) for sample in found.samples)
    voted = found.answer is not None and found.answer == poll.answer(instance.answer)
    cut, tokens = sum(one.reason == "length" for one in found.samples), sum(len(one.tokens) for one in found.samples)
    return Tried(instance.task, right, voted, cut, tokens, found.steps)


def _measured(tried: Sequence[Tried], samples: int, seed: int) -> Coverage:
    return coverage([one.right for one in tried], samples, seed=seed)


def _share(tried: Sequence[Tried]) -> float:
    return round(sum(one.voted for one in tried) / len(tried), 6)
