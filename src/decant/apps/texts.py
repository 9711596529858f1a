"""Texts to learn from: a file of conversations, answers, texts or prompts, or the house's own, as ids with weights.

A JSONL line holds `messages` (the assistant's tokens are learnt), `conversations` (the same, as ShareGPT writes them),
`prompt` with `answer`, `response`, `completion` or `output`, `text` (all of it is learnt), or a prompt alone, for
recipes in which a model answers. `domain` may name where it comes from. Any other file is plain text, a text a line.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from decant.apps.prompts import JSONL, chat_prompt, text_prompt
from decant.distill.texts import Text
from decant.errors import BadInput

if TYPE_CHECKING:  # a broken line is named before anything heavy is imported
    from decant.models.speller import Speller

TASKS: Final = "house:tasks"
MIXTURE: Final = "house:mixture"
DRAWN: Final = 2000  # training questions of house:tasks, where nobody says how many
ANSWERS: Final = ("answer", "response", "completion", "output")
SPEAKERS: Final = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}

Messages = list[dict[str, str]]


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One line before it is encoded. where: for errors. One of messages, prompt (with or without answer) and text."""

    where: str
    messages: Messages | None = None
    prompt: str | None = None
    answer: str | None = None
    text: str | None = None
    domain: str = ""


@final
@dataclass(frozen=True, slots=True)
class Shelf:
    """texts: with answers, numbered from 0. prompts: ids of lines without an answer. domains: the names that
    `Text.domain` counts."""

    texts: list[Text]
    prompts: list[list[int]]
    domains: list[str]


def read(source: str, limit: int | None = None, seed: int = 0) -> list[Row]:
    """Rows of a file or of house:tasks. Raises BadInput, naming the line."""
    if source == TASKS:
        return _questions(limit or DRAWN, seed)
    path = Path(source)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{source} cannot be read ({error}); give a file of JSONL or plain lines, {TASKS} or {MIXTURE}"
        ) from None
    rows: list[Row] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and (limit is None or len(rows) < limit):
            where = f"{path.name} line {number}"
            rows.append(_row(line, where) if path.suffix in JSONL else Row(where, text=line))
    if not rows:
        raise BadInput(f"{source} holds no texts; write one a line, as JSON with messages, prompt and answer, or text")
    return rows


def encoded(rows: Sequence[Row], speller: "Speller", ends: frozenset[int]) -> Shelf:
    """Ids and weights, by a student's tokenizer. Raises BadInput, naming the line."""
    domains = list(dict.fromkeys(row.domain for row in rows))
    texts: list[Text] = []
    prompts: list[list[int]] = []
    for row in rows:
        found = _encoded(row, speller, ends)
        if any(found.weights):
            texts.append(replace(found, number=len(texts), domain=domains.index(row.domain)))
        else:
            prompts.append(found.ids)
    return Shelf(texts, prompts, domains)


def _encoded(row: Row, speller: "Speller", ends: frozenset[int]) -> Text:
    if row.messages is not None:
        try:
            return _conversation(row.messages, speller, ends)
        except Exception as error:  # a template raises what it likes
            raise BadInput(f"{row.where}: {error}") from error
    if row.text is not None:
        ids = speller.encode(row.text)
        closed = [*ids, min(ends)] if ends and ids[-1] not in ends else ids
        return Text(closed, [1.0] * len(closed))
    assert row.prompt is not None
    asked = speller.encode(row.prompt)
    if row.answer is None:
        return Text(asked, [0.0] * len(asked), len(asked))
    said = [*speller.inner(row.answer), *([min(ends)] if ends else [])]
    return Text.answer([*asked, *said], len(asked))


def _conversation(messages: Messages, speller: "Speller", ends: frozenset[int]) -> Text:
    """The assistant's turns count, their end tokens included. A template that rewrites earlier turns (one that drops
    what was thought) leaves the last turn alone to learn from."""
    turns = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        ids = speller.encode_chat(messages)
        return Text(ids, [0.0] * len(ids), len(ids))
    ids = speller.encode_chat(messages[: turns[-1] + 1], ask=False)
    weights = [0.0] * len(ids)
    prompt = 0
    for turn in reversed(turns):
        before = speller.encode_chat(messages[:turn])
        after = speller.encode_chat(messages[: turn + 1], ask=False)
        if ids[: len(before)] != before or ids[: len(after)] != after:
            break
        prompt = len(before)
        ended = [at + 1 for at in range(prompt, len(after)) if after[at] in ends]
        stop = ended[-1] if ended else len(after)
        weights[prompt:stop] = [1.0] * (stop - prompt)
    if not any(weights):
        raise BadInput(
            "the chat template writes the last answer otherwise than behind what it asks with, so nobody knows which "
            "tokens are the assistant's; give prompt and answer in place of messages"
        )
    last = max(at + 1 for at, weight in enumerate(weights) if weight)
    return Text(ids[:last], weights[:last], prompt)


def _row(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where} is not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where} holds a {type(row).__name__}, not an object")
    domain = str(row.get("domain") or "")
    if "messages" in row:
        return Row(where, messages=list(chat_prompt(row["messages"], where).messages), domain=domain)
    if "conversations" in row:
        return Row(where, messages=_shared(row["conversations"], where), domain=domain)
    if "prompt" in row:
        prompt = text_prompt(row["prompt"], where).text
        answer = next((row[key] for key in ANSWERS if key in row), None)
        if answer is not None and not (isinstance(answer, str) and answer.strip()):
            raise BadInput(f"{where}: an answer is text that says something, got {answer!r}")
        return Row(where, prompt=prompt, answer=answer, domain=domain)
    if "text" in row:
        return Row(where, text=text_prompt(row["text"], where).text, domain=domain)
    raise BadInput(
        f"{where} has none of messages, conversations, prompt, text; it has {', '.join(map(str, row)) or 'nothing'}"
    )


def _shared(turns: Any, where: str) -> Messages:
    """ShareGPT's list of {"from": "human" | "gpt" | "system", "value": ...}."""
    good = isinstance(turns, list) and all(
        isinstance(turn, dict) and turn.get("from") in SPEAKERS and isinstance(turn.get("value"), str) for turn in turns
    )
    if not good or not turns:
        raise BadInput(
            f'{where}: conversations is a list of {{"from": ..., "value": ...}} whose speakers are '
            f"{', '.join(sorted(SPEAKERS))}"
        )
    messages = [{"role": SPEAKERS[turn["from"]], "content": turn["value"]} for turn in turns]
    return list(chat_prompt(messages, where).messages)


def _questions(count: int, seed: int) -> list[Row]:
    """Fresh questions of the training side with their right answers; a task is a domain."""
    from decant.house import corpus
    from decant.house.tasks import draw_any

    rng, functions = random.Random(f"distill {seed}"), corpus.functions(held_out=False)
    drawn = [draw_any(rng, functions) for _ in range(count)]
    return [
        Row(
            f"{TASKS} question {number}",
            messages=[{"role": "user", "content": one.prompt}, {"role": "assistant", "content": one.answer}],
            domain=one.task,
        )
        for number, one in enumerate(drawn, 1)
    ]
