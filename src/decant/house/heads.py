"""Teach the trained heads of house:target, one after the other, by the command that a user would type.

    python -m decant.house.heads [--out FOLDER] [--minutes N] [--only KIND,KIND] [--threads N]

`--minutes` of one thread (146: almost two and a half hours) are shared out as below; every head goes on where an
earlier run of the same minutes was interrupted. Checkpoints live under $DECANT_HOME/house-heads (default
~/.cache/decant/house-heads).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from decant.house import HOME
from decant.models import build as models

SHIPPED: Final = ("config.json", "model.safetensors", "README.md", "recipe.json")
LAYER: Final = "intermediate=192:heads=4:kv_heads=1:draft_vocab=768"  # reads 1.1 MB a guess: as much as house:draft


@final
@dataclass(frozen=True, slots=True)
class Lesson:
    """One head. recipe: as `decant distill` takes it; minutes: of one thread; rate: None is the recipe's own."""

    recipe: str
    minutes: float
    rate: float | None = None

    @property
    def kind(self) -> str:
        """Of head."""
        return self.recipe.partition(":")[0]


LESSONS: Final = (
    Lesson(f"eagle:{LAYER}:ce=1:unroll=3", 20, 2e-3),
    Lesson(f"eagle3:{LAYER}:unroll=4", 20, 2e-3),
    Lesson("glide:start=house:draft:draft_vocab=2048", 45, 1e-3),
    Lesson("medusa", 8),
    Lesson(
        "fspad:lift=288:gate=16:branch=32:intermediate=64:heads=2:kv_heads=1:draft_vocab=1024:ce=1:unroll=3", 15, 2e-3
    ),
    Lesson("falcon:memory=64:intermediate=160:heads=4:kv_heads=1:draft_vocab=1024:ce=1", 12, 2e-3),
    Lesson("chimera:gram=64:intermediate=128:heads=2:kv_heads=1:draft_vocab=1024", 12, 2e-3),
    Lesson("hidden-transfer", 8),
    Lesson("ppd", 6),
)
"""Rates by short trials with EAGLE; heads that feed on themselves are taught to, as EAGLE-3 is: a layer this small
loses accuracy behind its first guess otherwise (0.34 0.23 0.21 against 0.40 0.39 0.38)."""


def teach(lesson: Lesson, minutes: float, threads: int, shop: Path) -> Path:
    """Run the command; the folder of the head. Raises CalledProcessError where it fails."""
    folder = shop / lesson.kind
    command = [sys.executable, "-m", "decant", "distill", lesson.recipe, "--teacher", "house:target"]
    command += ["--data", "house:mixture", "--minutes", f"{minutes:g}", "--batch", "4", "--threads", str(threads)]
    command += [] if lesson.rate is None else ["--rate", f"{lesson.rate:g}"]
    subprocess.run([*command, "--out", str(folder)], check=True)
    return folder


def ship(folder: Path, out: Path) -> None:
    """Copy a head beside the models, and name it in the target's decant.json."""
    place = out / folder.name
    place.mkdir(parents=True, exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(folder / name, place / name)
    for name in ("README.md", "recipe.json"):  # which say where the run was written: that is nobody else's folder
        text = (place / name).read_text(encoding="utf-8")
        (place / name).write_text(text.replace(str(folder), folder.name), encoding="utf-8")
    target = out / "target"
    file = target / "decant.json"
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    heads = {**said.get("heads", {}), folder.name: f"house:{folder.name}"}
    models.add_settings(target, "decant.json", {**said, "heads": heads})


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.heads", description="Teach the heads of the house.")
    parser.add_argument("--out", type=Path, default=HOME, help="where the house is written")
    parser.add_argument("--minutes", type=float, default=146, help="of training, for all heads together")
    parser.add_argument("--only", help="kinds with commas between")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant"))
    shop = home / "house-heads" / f"{asked.minutes:g}-minutes"
    share = asked.minutes / sum(lesson.minutes for lesson in LESSONS)
    for lesson in LESSONS:
        if asked.only is None or lesson.kind in asked.only.split(","):
            try:
                ship(teach(lesson, lesson.minutes * share, asked.threads, shop), asked.out)
            except subprocess.CalledProcessError as error:
                return error.returncode
            except KeyboardInterrupt:
                sys.stderr.write(f"interrupted; the same command goes on from {shop}\n")
                return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
