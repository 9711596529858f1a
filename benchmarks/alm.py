"""Does a student with another tokenizer learn as much from house:target as one with the same?

    python benchmarks/alm.py [--minutes 5] [--trained 25] [--seeds 0,1,2] [--quick]

Two students of one shape: house:draft, and the draft of benchmarks/cross_vocabulary.py, which is the same body with a
vocabulary of 2,048 entries split as Qwen2 splits (trained first, unless one of as many minutes lies under DECANT_HOME).
Each learns house:tasks the same minutes of one thread: the other one by alm_transfer, and by its cross-entropy alone;
the same-tokenizer one by hinton, and by sft, which is that cross-entropy. Exact match on held-out questions, before and
after, with bootstrap intervals over the questions; what the teacher adds to the texts' own tokens is the figure to
compare across tokenizers, as the two students do not begin equally good. Killed, the same command goes on where it
stopped.

Left out: KL and agreement (there is no token-by-token law to compare), larger vocabularies, other teachers, and the
tuning of alm_transfer's knobs.
"""

import argparse
from pathlib import Path
from typing import Any

from cross_vocabulary import trained
from school.lessons import Lesson, place, taught
from school.marks import by_task, interval, marks

from decant.bench.study import begin, heading, options, save
from decant.house import folder

SAME, OTHER = "the same tokenizer", "another tokenizer"
RECIPES = {SAME: ("sft", "hinton"), OTHER: ("alm_transfer:alm=0", "alm_transfer")}  # first: the texts' tokens alone


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.set_defaults(threads=1)
    parser.add_argument("--minutes", type=float, default=5, help="of training, of each student")
    parser.add_argument("--trained", type=float, default=25, help="minutes of the other student's first training")
    parser.add_argument("--seeds", default="0", help="with commas between")
    parser.add_argument("--each", type=int, default=60, help="held-out questions of every task")
    parser.add_argument("--limit", type=int, help="training questions (default: 2,000)")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.minutes, chosen.trained, chosen.each, chosen.limit = 0.01, 0.1, 1, 20
    return chosen


def rows(chosen: argparse.Namespace, home: Path, students: dict[str, Path]) -> list[dict[str, Any]]:
    """Every student as it begins, and by every recipe."""
    found, seeds = [], [int(seed) for seed in chosen.seeds.split(",")]
    for kind, student in students.items():
        own = home / f"{kind.replace(' ', '-')}-{chosen.minutes:g}-minutes"
        before = marks(student, chosen.each, home / "marks")
        rights = {"before": [before]}
        for recipe in RECIPES[kind]:
            lessons = [Lesson(recipe, str(student), own, chosen.minutes, seed, limit=chosen.limit) for seed in seeds]
            reports = [taught(lesson) for lesson in lessons]
            rights[recipe] = [marks(lesson.out, chosen.each, home / "marks") for lesson in lessons]
            average = [sum(one) / len(seeds) for one in zip(*rights[recipe], strict=True)]
            row = {
                "student": kind,
                "recipe": recipe,
                "steps": reports[0]["steps"],
                "seconds": [report["seconds"] for report in reports],
                "before": interval([before]),
                "exact_match": interval(rights[recipe]),
                "to_before": interval(rights[recipe], rights["before"]),
                "to_sft": interval(rights[recipe], rights[RECIPES[kind][0]]),
                "by_task": by_task(average, chosen.each),
            }
            print(line(row), flush=True)
            found.append(row)
    return found


def line(row: dict[str, Any]) -> str:
    gains = (
        f"{name.replace('_', ' ')} {row[name]['mean']:+.1%} ({row[name]['low']:+.1%} to {row[name]['high']:+.1%})"
        for name in ("to_before", "to_sft")
    )
    return f"{row['student']:<20}{row['recipe']:<20}{row['exact_match']['mean']:6.1%} right, " + ", ".join(gains)


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    with place("cross-vocabulary", chosen.quick) as shop:
        students = {SAME: folder("draft"), OTHER: trained(chosen.trained, shop)}
        with place("alm", chosen.quick) as home:
            found = rows(chosen, home, students)
    report = {"machine": facts, "minutes": chosen.minutes, "questions": 5 * chosen.each}
    print(f"results: {save({**report, 'students': found}, __file__, chosen)}")
