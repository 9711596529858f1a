"""Rounds of a race on disk: an interrupted race goes on where its last whole round ended."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from decant.errors import BadInput


@final
@dataclass(frozen=True, slots=True)
class Kept:
    """What a race has finished. file: JSON, replaced whole after every round."""

    file: Path

    def begin(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What is kept of the race that `question` (JSON-ready) describes; {} if it has not begun.

        Raises BadInput where the file holds another race, or no race at all.
        """
        try:
            found = json.loads(self.file.read_text())
            asked, kept = found["question"], found["kept"]
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(
                f"{self.file} holds no rounds of a race ({error}); name another file or delete it"
            ) from error
        wanted = _plain(question)
        other = [name for name in {*asked, *wanted} if asked.get(name) != wanted.get(name)]
        if other:
            raise BadInput(
                f"{self.file} holds the rounds of another race: {', '.join(sorted(other))} differ; name another file "
                f"or delete it"
            )
        return kept

    def keep(self, question: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
        """Replace what is kept, whole: a kill at any moment leaves the last round or this one."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        part = self.file.with_name(f"{self.file.name}.{os.getpid()}")
        part.write_text(json.dumps({"question": _plain(question), "kept": kept}, allow_nan=False) + "\n")
        part.replace(self.file)


def fingerprint(prompts: list[list[int]]) -> str:
    """Of prompts, which are long."""
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:16]


def _plain(question: Mapping[str, Any]) -> dict[str, Any]:
    """As it reads once it was written."""
    return json.loads(json.dumps(question))
