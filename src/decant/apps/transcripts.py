"""Conversations as files: JSON with the messages, and what they were said with."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from decant.apps.prompts import chat_prompt
from decant.errors import BadInput

Messages = list[dict[str, str]]


def saved(report: Mapping[str, Any], path: Path) -> None:
    """Write the conversation; the file is whole at any time. Raises BadInput where it cannot be written."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise BadInput(f"the conversation cannot be saved as {path}: {error.strerror}; give another file") from error


def resumed(path: Path) -> tuple[str, Messages, str | None]:
    """System prompt, messages and the model's name of a file: what `saved` wrote, or any JSON with messages, or a list
    of them. Raises BadInput."""
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not JSON"
        raise BadInput(f"the conversation {path} cannot be read: {reason}; give a file that --save wrote") from None
    found = read if isinstance(read, dict) else {"messages": read}
    messages = found.get("messages", [])
    if messages:  # the last may say nothing: a model may
        rows = [*messages, {"role": "user", "content": "?"}] if isinstance(messages, list) else messages
        messages = [dict(one) for one in chat_prompt(rows, str(path)).messages[:-1]]
    system = str(found.get("system") or "")
    if messages and messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    roles = [one["role"] for one in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        raise BadInput(f"{path} has messages of {', '.join(roles)}; a conversation is user and assistant by turns")
    return system, messages, found.get("model")


def refuse_overwriting(path: Path, own: Path | None) -> None:
    """Raises BadInput for a file that is there and is not this conversation's own."""
    if path.exists() and (own is None or not own.exists() or not path.samefile(own)):
        raise BadInput(f"{path} is there already; --resume {path} goes on with a saved conversation, or give another")
