"""Students of equal compute: every recipe gets the steps that fit the minutes, and a killed lesson goes on."""

import json
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from decant.apps.teaching import Asked, run, sketch
from decant.distill.runs import RECIPE
from decant.house import corpus, tasks

TEACHER = "house:target"
LOOKS = 3  # sketches of a recipe; the median of their seconds a step counts
CODE_LINES = 8  # of a function, at the least; the first half of them is the prompt


@dataclass(frozen=True, slots=True)
class Lesson:
    """folder: of all students of this teacher and these minutes. texts, limit, answers: as `decant distill` takes
    --data, --limit and --max-tokens."""

    recipe: str
    student: str
    folder: Path
    minutes: float
    seed: int = 0
    texts: str = "house:tasks"
    limit: int | None = None
    answers: int = 128

    @property
    def name(self) -> str:
        return f"{self.recipe}-{self.seed}".replace(":", "-").replace("=", "-")

    @property
    def out(self) -> Path:
        return self.folder / self.name

    def asked(self, steps: int = 1) -> Asked:
        return Asked(
            recipe=self.recipe,
            teacher=TEACHER,
            texts=self.texts,
            out=self.out,
            student=self.student,
            steps=steps,
            limit=self.limit,
            max_tokens=self.answers,
            seed=self.seed,
            device="cpu",
            quiet=True,
        )


@contextmanager
def place(name: str, quick: bool) -> Iterator[Path]:
    """Below DECANT_HOME; a quick run leaves nothing there."""
    if quick:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    else:
        yield Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / name


def taught(lesson: Lesson) -> dict[str, Any]:
    """recipe.json of the finished student, whose folder is `lesson.out`."""
    file = lesson.out / RECIPE
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    if "seconds" not in found:
        run(lesson.asked(_steps(lesson)), lambda done, total, text: None)
        found = json.loads(file.read_text(encoding="utf-8"))
    return found


def mixed(file: Path, count: int) -> str:
    """Training questions with their answers, and as many functions of the training code, cut in halves; a text a line.

    A file that is there stays as it is.
    """
    if not file.exists():
        rng, functions = random.Random("mixed"), corpus.functions(held_out=False)
        long = [text for text in functions if text.count("\n") >= CODE_LINES]
        rows = [_question(tasks.draw_any(rng, functions)) for _ in range(count)]
        rows += [_halves(text) for text in rng.sample(long, min(count, len(long)))]
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        part.replace(file)
    return str(file)


def _steps(lesson: Lesson) -> int:
    """Those that fit the minutes; measured once for a recipe and kept, so that its seeds get as many."""
    file = lesson.folder / "paces.json"
    paces = json.loads(file.read_text()) if file.exists() else {}
    if lesson.recipe not in paces:
        plans = [sketch(lesson.asked(), lambda done, total, text: None).report for _ in range(LOOKS)]
        paces[lesson.recipe] = median(plan["seconds"]["a step"] for plan in plans)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(paces, indent=1) + "\n")
    return max(1, int(lesson.minutes * 60 / paces[lesson.recipe]))


def _question(instance: tasks.Instance) -> dict[str, Any]:
    said = {"user": instance.prompt, "assistant": instance.answer}
    return {"messages": [{"role": role, "content": text} for role, text in said.items()], "domain": "tasks"}


def _halves(text: str) -> dict[str, str]:
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    return {"prompt": "".join(lines[:half]), "answer": "".join(lines[half:]), "domain": "code"}
