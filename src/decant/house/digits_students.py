"""Teach the one-pass students of the digit models, one after the other, by the command that a user would type.

    python -m decant.house.digits_students [--set digits|mnist] [--teachers FOLDER] [--out FOLDER] [--only NAME,NAME]

Ten to thirty minutes of one thread each; every student goes on where an earlier run was interrupted. Checkpoints live
under $DECANT_HOME/images/students (default ~/.cache/decant/images/students). --teachers says where digits-ar and
digits-var lie, or, with --set mnist, mnist-ar and mnist-var; without it they are the house's own.
"""

import argparse
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from decant.house import HOME

SHIPPED: Final = ("config.json", "model.safetensors", "README.md", "recipe.json", "samples.png")


@final
@dataclass(frozen=True, slots=True)
class Lesson:
    """One student. teacher: ar or var. recipe: as `decant distill` takes it. rate: None is the recipe's own."""

    teacher: str
    recipe: str
    steps: int
    batch: int
    rate: float | None = None

    @property
    def kind(self) -> str:
        """Of student."""
        return self.recipe.partition(":")[0]


LESSONS: Final = {
    "digits": (
        Lesson("ar", "dd1:pairs=50000:ema=0.998", 3000, 128, 2e-3),
        Lesson("ar", "dd2:head=50:tuning=300:guidance=3:draws=2:width=64:alignment=100", 2500, 64, 5e-4),
        Lesson("var", "dd1:pairs=50000:ema=0.998", 3000, 128, 2e-3),
        Lesson("var", "dd2", 2500, 64),
    ),
    "mnist": (
        Lesson("ar", "dd1:pairs=30000:ema=0.998", 3000, 64, 2e-3),
        Lesson("ar", "dd2", 1500, 32),
        Lesson("var", "dd1:pairs=30000:ema=0.998", 3000, 64, 2e-3),
        Lesson("var", "dd2", 1500, 32),
    ),
}


def teach(lesson: Lesson, teacher: str, folder: Path, threads: int) -> None:
    """Run the command. Raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "decant", "distill", lesson.recipe, "--teacher", teacher, "--out", str(folder)]
    command += ["--steps", str(lesson.steps), "--batch", str(lesson.batch), "--threads", str(threads)]
    subprocess.run([*command, *([] if lesson.rate is None else ["--rate", f"{lesson.rate:g}"])], check=True)


def ship(folder: Path, out: Path) -> None:
    """Copy a student beside the models; where the run was written is nobody else's folder."""
    place = out / folder.name
    shutil.copytree(folder / "image_tokenizer", place / "image_tokenizer", dirs_exist_ok=True)
    for name in SHIPPED:
        shutil.copyfile(folder / name, place / name)
    for name in ("README.md", "recipe.json"):
        text = (place / name).read_text(encoding="utf-8").replace(f" --draft {folder}", "")
        (place / name).write_text(text.replace(str(folder), folder.name), encoding="utf-8")


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.digits_students", description="Teach the students.")
    parser.add_argument("--teachers", type=Path, help="folder of the teachers")
    parser.add_argument("--set", default="digits", choices=LESSONS, help="how the teachers' names begin")
    parser.add_argument("--out", type=Path, default=HOME, help="where the students are written")
    parser.add_argument("--only", help="names with commas between, such as ar-dd1,var-dd2")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant"))
    for lesson in LESSONS[asked.set]:
        name = f"{lesson.teacher}-{lesson.kind}"
        if asked.only is not None and name not in asked.only.split(","):
            continue
        teacher = f"{asked.set}-{lesson.teacher}"
        spelt = f"house:{teacher}" if asked.teachers is None else str(asked.teachers / teacher)
        folder = home / "images" / "students" / f"{asked.set}-{name}"
        try:
            teach(lesson, spelt, folder, asked.threads)
            ship(folder, asked.out)
        except subprocess.CalledProcessError as error:
            return error.returncode
        except KeyboardInterrupt:
            sys.stderr.write(f"interrupted; the same command goes on from {folder}\n")
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
