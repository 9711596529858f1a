"""The shipped prompts: held-out questions of every task, code to continue, and answers that copy their prompt."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from decant.house import corpus
from decant.house.evaluate import held_out
from decant.house.tasks import GENERATORS, Instance

LINES: Final = 60
COPY_TASKS: Final = ("records", "edit")
SHORTEST_COPY: Final = 200  # characters of answer
PREFIX_LINES: Final = (12, 30)


def write(folder: Path, words: Tokenizer) -> None:
    """Write tasks.jsonl, code.jsonl and copy.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    each = LINES // len(GENERATORS)
    mixed = [held_out(task, each, seed="prompts") for task in GENERATORS]
    _write(folder / "tasks.jsonl", (_question(one) for group in zip(*mixed, strict=True) for one in group))
    each = LINES // len(COPY_TASKS)
    copies = [_long(held_out(task, 20 * each, seed="copy"), each) for task in COPY_TASKS]
    _write(folder / "copy.jsonl", (_question(one) for group in zip(*copies, strict=True) for one in group))
    _write(folder / "code.jsonl", _prefixes(words))


def _question(instance: Instance) -> dict[str, object]:
    messages = [{"role": "user", "content": instance.prompt}]
    return {"messages": messages, "task": instance.task, "answer": instance.answer}


def _long(instances: list[Instance], count: int) -> list[Instance]:
    return [instance for instance in instances if len(instance.answer) >= SHORTEST_COPY][:count]


def _prefixes(words: Tokenizer) -> Iterable[dict[str, object]]:
    """Stretches of held-out source that end at the end of a line inside a block, to be continued."""
    rng = random.Random("code")
    files = [document.text.splitlines(keepends=True) for document in corpus.documents(held_out=True)]
    files = [lines for lines in files if len(lines) > 2 * PREFIX_LINES[1]]
    found: set[str] = set()
    while len(found) < LINES:
        lines = rng.choice(files)
        starts = [place for place, line in enumerate(lines) if line.startswith(("def ", "class "))]
        if not starts:
            continue
        start = rng.choice(starts)
        prefix = "".join(lines[start : start + rng.randint(*PREFIX_LINES)])
        if prefix not in found and 60 <= len(words.encode(prefix).ids) <= 400:
            found.add(prefix)
            yield {"prompt": prefix, "task": "code"}


def _write(file: Path, rows: Iterable[dict[str, object]]) -> None:
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
