"""What does each recipe make of the same student in the same minutes?

    python benchmarks/recipes.py [--minutes 5] [--only sft,gkd] [--seeds-for sft,gkd] [--seeds 3] [--quick]

A student of a quarter of house:target's weights learns house:tasks from house:target, by every recipe that teaches a
whole student, on one thread. All begin as the same model: house:draft, grown (so it already speaks; what grew is
silent until it learns). A recipe's steps are those that fit the minutes, measured once; a reference that is taught
first is paid out of them, answers that the teacher writes beforehand are not: they show in the seconds. Exact match
counts replies to held-out questions that are right to the letter; its interval, and that of the difference to sft, are
bootstraps over questions. Agreement and KL are token by token beside the teacher, on texts that were not taught.

Hours in all: killed, the same command goes on where it stopped (under DECANT_HOME), and finished students are only
told again. A student that went on counts the seconds since then.
Left out: aligndistil (it needs a second, contrary teacher), alm_transfer (benchmarks/alm.py), the tuning of any
recipe's knobs, and other tasks, on which the order may be another.
"""

import argparse
from pathlib import Path
from typing import Any

from school.lessons import TEACHER, Lesson, place, taught
from school.marks import by_task, interval, marks
from tokenizers import Tokenizer

from decant.bench.study import begin, heading, options, save
from decant.house import folder, tokenizer
from decant.models import build as models
from decant.models.widen import Shape, grow

BASELINE = "sft"
RECIPES = (
    "sft", "hinton", "seqkd", "gkd", "minillm", "distillm", "taid", "sinkd", "pld", "ddk", "minilm", "distillspec",
    "adaspec", "fastdraft",
)  # fmt: skip
QUARTER = Shape(hidden=192, intermediate=256, layers=2, heads=6, kv_heads=6)


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.set_defaults(threads=1)
    parser.add_argument("--minutes", type=float, default=5, help="of training, of each student")
    parser.add_argument("--only", help="recipes with commas between (default: all); sft comes first anyway")
    parser.add_argument("--seeds-for", default="sft,hinton,gkd", help="recipes that are taught more than once")
    parser.add_argument("--seeds", type=int, default=3, help="how often those are")
    parser.add_argument("--student", help="a folder to begin from (default: house:draft grown to a quarter)")
    parser.add_argument("--each", type=int, default=60, help="held-out questions of every task")
    parser.add_argument("--limit", type=int, help="training questions (default: 2,000)")
    parser.add_argument("--max-tokens", type=int, default=128, help="of an answer, at most")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.each, chosen.limit, chosen.max_tokens = 0.01, 1, 20, 8
        chosen.only, chosen.seeds_for = chosen.only or "gkd", ""
    return chosen


def quarter(out: Path) -> str:
    """The student that all begin as."""
    if not (out / "tokenizer.json").exists():
        models.save_folder(grow(models.load_folder(folder("draft")), QUARTER), out)  # type: ignore[arg-type]
        tokenizer.write_folder(Tokenizer.from_file(str(folder("draft") / "tokenizer.json")), out)
    return str(out)


def cells(chosen: argparse.Namespace) -> list[tuple[str, int]]:
    """(recipe, seed): every recipe once before any of them again."""
    named = list(dict.fromkeys([BASELINE, *(chosen.only.split(",") if chosen.only else RECIPES)]))
    again = chosen.seeds_for.split(",")
    return [(name, seed) for seed in range(chosen.seeds) for name in named if seed == 0 or name in again]


def row(recipe: str, students: list[dict[str, Any]], baseline: list[dict[str, Any]], each: int) -> dict[str, Any]:
    """All seeds of a recipe."""
    rights, beside = [one["right"] for one in students], [one["right"] for one in baseline]
    average = [sum(one) / len(one) for one in zip(*rights, strict=True)]
    return {
        "recipe": recipe,
        "seeds": len(students),
        "steps": students[0]["steps"],
        "seconds": [one["seconds"] for one in students],
        "exact_match": interval(rights),
        "to_sft": interval(rights, beside),
        "by_task": by_task(average, each),
        **{name: [one["after"][name] for one in students] for name in ("agreement", "kl", "acceptance")},
    }


def line(row: dict[str, Any]) -> str:
    right, gain = row["exact_match"], row["to_sft"]
    mean = {name: sum(row[name]) / len(row[name]) for name in ("agreement", "kl", "seconds")}
    return (
        f"{row['recipe']:<12}{right['mean']:7.1%} ({right['low']:.1%} to {right['high']:.1%})  to sft "
        f"{gain['mean']:+.1%} ({gain['low']:+.1%} to {gain['high']:+.1%})  agrees {mean['agreement']:.4f}  "
        f"KL {mean['kl']:.4f}  {row['steps']:5} steps, {mean['seconds']:.0f} s, {row['seeds']} seeds"
    )


def measured(chosen: argparse.Namespace, home: Path, facts: dict[str, Any]) -> None:
    """Results are written after every student."""
    student = chosen.student or quarter(home / "student")
    ends = {"the start": Path(student), "the teacher": folder(TEACHER.removeprefix("house:"))}
    bounds = {name: marks(place, chosen.each, home / "marks") for name, place in ends.items()}
    known = {name: interval([right]) | {"by_task": by_task(right, chosen.each)} for name, right in bounds.items()}
    print("\n".join(f"{name}: {one['mean']:.1%} right" for name, one in known.items()), flush=True)
    report = {"machine": facts, "minutes": chosen.minutes, "questions": len(bounds["the start"]), **known}
    students: dict[str, list[dict[str, Any]]] = {}
    lessons = home / (Path(student).name + f"-{chosen.minutes:g}-minutes")
    for recipe, seed in cells(chosen):
        lesson = Lesson(recipe, student, lessons, chosen.minutes, seed, limit=chosen.limit, answers=chosen.max_tokens)
        found = taught(lesson)
        right = marks(lesson.out, chosen.each, home / "marks")
        students.setdefault(recipe, []).append(found | {"right": right})
        rows = [row(name, some, students[BASELINE], chosen.each) for name, some in students.items()]
        print(line(next(one for one in rows if one["recipe"] == recipe)), flush=True)
        save(report | {"recipes": rows}, __file__, chosen)
    print("\n" + "\n".join(map(line, sorted(rows, key=lambda one: -one["exact_match"]["mean"]))))


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    with place("recipes", chosen.quick) as home:
        measured(chosen, home, facts)
