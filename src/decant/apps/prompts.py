"""Prompts from a file, from standard input or from the house, as token ids.

A JSONL line holds `prompt` (raw text), `messages` (through the chat template) or `turns`, of which the first becomes a
user message (the format of MT-bench, Spec-Bench and EAGLE). Elsewhere every line that is not blank is raw text.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from decant import house
from decant.errors import BadInput
from decant.models.folder import of_images

if TYPE_CHECKING:  # a prompts file is read, and its broken line named, before anything heavy is imported
    from decant.models.load import Loaded

JSONL: Final = frozenset({".jsonl", ".ndjson", ".json"})
KEYS: Final = ("prompt", "messages", "turns")
CLASSES: Final = "classes of "
"""Before the name of a model of images: its classes are its prompts."""


@final
@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt before it is encoded.

    where:    what to call it in an error: "tasks.jsonl line 3".
    text:     raw text; None where there are messages.
    messages: for the chat template.
    lenient:  a single user message, which stands as raw text where the model has no chat template.
    """

    where: str
    text: str | None = None
    messages: tuple[dict[str, str], ...] = ()
    lenient: bool = False


def read(source: str, limit: int | None = None, whole: bool = False) -> list[Prompt]:
    """The first `limit` prompts of `source`: a file, `-`, or `house:NAME`. Raises BadInput, naming the line.

    whole: nobody continues these: plain text is one text, whatever its lines, and a row may hold `text` too.
    """
    keys = ("text", *KEYS) if whole else KEYS
    if limit is not None and limit < 1:
        raise BadInput(f"at least one prompt is needed, got a limit of {limit}")
    name, lines, rows = _open(source)
    lines = ["\n".join(lines)] if whole and not rows else lines
    prompts: list[Prompt] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and (limit is None or len(prompts) < limit):
            where = f"{name} line {number}"
            text = line if whole else line.rstrip("\r\n")
            prompts.append(_row(line, where, keys) if rows else Prompt(where, text))
    if not prompts:
        raise BadInput(f"{name} holds no prompts; write one a line, as text or as JSON with one of {', '.join(keys)}")
    return prompts


def default_source(model: str) -> str:
    """The shipped held-out prompts for a house model, the classes of a model of images. Raises BadInput for others."""
    if of_images(model):
        return f"{CLASSES}{model}"
    if model.startswith("house:"):
        return "house:tasks"
    raise BadInput(
        f"which prompts shall {model} continue? give --prompts FILE (JSONL or text lines), - for standard input, or "
        f"{', '.join(f'house:{name}' for name in house.PROMPTS)}"
    )


def encode(prompts: list[Prompt], target: "Loaded", max_tokens: int = 0) -> list[list[int]]:
    """Ids of each prompt, with `max_tokens` open places behind for a model that fills in masks. Raises BadInput where a
    prompt is empty or leaves no room for `max_tokens` more tokens."""
    found = [_fitting(_ids(prompt, target), prompt.where, target, max_tokens) for prompt in prompts]
    return [target.opened(ids, max_tokens) for ids in found] if max_tokens else found


def _fitting(ids: list[int], where: str, target: "Loaded", max_tokens: int) -> list[int]:
    context = target.model.context
    if not ids:
        raise BadInput(f"{where} is empty: a language model needs at least one token to continue")
    if len(ids) >= context:
        raise BadInput(
            f"{where} has {len(ids):,} tokens, but the context of {target.name} holds {context:,}, the answer "
            f"included; shorten it"
        )
    refuse_mask(ids, where, target)
    if len(ids) + max_tokens > context:
        raise BadInput(
            f"{where} has {len(ids):,} tokens and {max_tokens:,} more were asked for, but the context of {target.name} "
            f"holds {context:,}; ask for at most {context - len(ids):,} tokens (--max-tokens) or shorten the prompt"
        )
    return ids


def refuse_mask(ids: list[int], where: str, target: "Loaded") -> None:
    """Raises BadInput where a text spells the mask: a place is open only where a template says so."""
    if target.masked is not None and target.masked.mask in ids:
        raise BadInput(
            f"{where} spells the mask of {target.name}, which stands for an open place; leave it out, or write "
            f"[MASK:n] with --infill"
        )


def _ids(prompt: Prompt, target: "Loaded") -> list[int]:
    if prompt.text is not None:
        return target.encode(prompt.text)
    if prompt.lenient and not getattr(target.tokenizer, "chat_template", None):
        return target.encode(prompt.messages[0]["content"])
    return target.encode_chat(list(prompt.messages))


def _open(source: str) -> tuple[str, list[str], bool]:
    """A name for errors, the lines, and whether they are JSON."""
    if source == "-":
        lines = sys.stdin.read().split("\n")
        first = next((line for line in lines if line.strip()), "")
        return "standard input", lines, first.lstrip().startswith("{")
    if source.startswith(CLASSES):
        return source, list(of_images(source.removeprefix(CLASSES)).get("classes", ())), False
    path = house.prompts(source) if source.startswith("house:") else Path(source)
    name = source if source.startswith("house:") else path.name
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadInput(
            f"the prompts file {source} does not exist; give a file, - for standard input, or "
            f"{', '.join(f'house:{known}' for known in house.PROMPTS)}"
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{source} is not text in UTF-8 (byte {error.start}); prompts are JSONL or plain lines"
        ) from None
    except OSError as error:
        raise BadInput(
            f"{source} cannot be read: {error.strerror}; prompts are a file of JSONL or plain lines"
        ) from None
    # Not splitlines(): JSON may hold U+2028 and its like unescaped.
    return name, text.split("\n"), path.suffix in JSONL


def _row(line: str, where: str, keys: tuple[str, ...]) -> Prompt:
    """The prompt of one JSON line."""
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise BadInput(f"{where} is not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(row, dict):
        raise BadInput(f"{where} holds a {type(row).__name__}, not an object with one of {', '.join(keys)}")
    key = next((key for key in keys if key in row), None)
    if key is None:
        raise BadInput(f"{where} has none of {', '.join(keys)}; it has {', '.join(map(str, row)) or 'nothing'}")
    if key in {"prompt", "text"}:
        return text_prompt(row[key], where)
    if key == "messages":
        return chat_prompt(row[key], where)
    turns = row[key]
    if not isinstance(turns, list) or not turns or not isinstance(turns[0], str):
        raise BadInput(f"{where}: turns is a list of texts, got {_shown(turns)}")
    return chat_prompt([{"role": "user", "content": turns[0]}], where, lenient=True)


def text_prompt(text: Any, where: str) -> Prompt:
    """Raw text to continue. Raises BadInput unless it is a string that says something."""
    if not isinstance(text, str):
        raise BadInput(f"{where}: a prompt is text, got {_shown(text)}")
    if not text.strip():
        raise BadInput(f"{where} is empty; a prompt needs at least one character that is not blank")
    return Prompt(where, text)


def chat_prompt(messages: Any, where: str, lenient: bool = False) -> Prompt:
    """A conversation to answer. Raises BadInput unless it is a list of {"role": ..., "content": ...} texts."""
    good = isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("role"), str) and isinstance(one.get("content"), str)
        for one in messages
    )
    if not good or not messages:
        raise BadInput(f'{where}: messages is a list of {{"role": ..., "content": ...}}, got {_shown(messages)}')
    if not messages[-1]["content"].strip():
        raise BadInput(f"{where} is empty; its last message says nothing")
    return Prompt(where, messages=tuple(messages), lenient=lenient)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
