"""Prompts of public benchmarks, for ours: files that the project does not ship, under the folder DECANT_DATA."""

import gzip
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from decant.apps.prompts import Prompt
from decant.errors import BadInput

STORY: Final = 160  # characters of a story that a model goes on with


def _asked(row: dict[str, Any], where: str) -> Prompt:
    text = row["turns"][0] if "turns" in row else row["question"]
    return Prompt(where, messages=({"role": "user", "content": text},), lenient=True)


def _continued(row: dict[str, Any], where: str) -> Prompt:
    return Prompt(where, text=row["prompt"])


FILES: Final[dict[str, tuple[str, Callable[[dict[str, Any], str], Prompt]]]] = {
    "gsm8k": ("gsm8k/test.jsonl", _asked),
    "humaneval": ("humaneval/HumanEval.jsonl.gz", _continued),
    "spec-bench": ("spec_bench/question.jsonl", _asked),
}


def outside(name: str, limit: int, seed: int = 0) -> list[Prompt]:
    """`limit` prompts of gsm8k, humaneval, spec-bench or tinystories, drawn with a seed of their own.

    Raises BadInput where DECANT_DATA is not set, or holds no such file.
    """
    rows = _stories() if name == "tinystories" else _rows(name)
    return random.Random(seed).sample(rows, min(limit, len(rows)))


def _rows(name: str) -> list[Prompt]:
    if name not in FILES:
        raise BadInput(f"no outside prompts are called {name!r}; there are {', '.join(FILES)} and tinystories")
    path, read = FILES[name]
    file = _found(path)
    raw = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    lines = [line for line in raw.decode().splitlines() if line.strip()]
    return [read(json.loads(line), f"{name} line {number}") for number, line in enumerate(lines, 1)]


def _stories() -> list[Prompt]:
    text = _found("tinystories/val_b.txt").read_text()
    starts = [part for part in text.split("\n\n") if part.startswith(("Once upon", "One day")) and len(part) > STORY]
    return [Prompt(f"story {number}", text=start[:STORY].rsplit(" ", 1)[0]) for number, start in enumerate(starts, 1)]


def _found(path: str) -> Path:
    home = os.environ.get("DECANT_DATA")
    if not home:
        raise BadInput(f"{path} lies under the folder that DECANT_DATA names; set it, or take the house prompts")
    file = Path(home) / path
    if not file.is_file():
        raise BadInput(f"{file} is missing; DECANT_DATA names a folder that holds {path}")
    return file
