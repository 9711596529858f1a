"""How many more guesses of a draft are kept when it was distilled for its target?

    python benchmarks/drafts.py [--minutes 5] [--untuned 90] [--only gkd,hinton] [--temperature 1] [--quick]

A draft is taught by distillspec, adaspec, gkd and hinton, the same minutes of one thread each, from questions of
house:tasks and functions of the training code. Then the draft as it was and every taught one guess for house:target in
one race on held-out prompts of house:tasks and house:code, at temperature 0 and 1, as chains of a fixed depth: tokens
a target call, and the share of guesses kept at each depth. Recipes whose drafts write answers do so at the temperature
that they name (distillspec 1, gkd 0.9).

The shipped house:draft has read house:tasks and has been distilled once already, so there is little left to win.
--untuned MINUTES begins from a draft that has read code alone, never a task: the first stage of house/build.py for a
build of that length, trained under DECANT_HOME (90 is the shipped one's, 7 minutes on one free thread; killed, it goes
on). Target and draft of users stand so: the target was tuned for what it is asked, the draft was not.
Killed, lessons go on where they stopped, and finished drafts are only raced again.
Left out: time (benchmarks/methods.py), trees, and drafts of other sizes.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from school.lessons import TEACHER, Lesson, mixed, place, taught

from decant.apps.choosing import warp_of
from decant.apps.compose import compose
from decant.apps.opening import Opening
from decant.apps.prompts import read
from decant.apps.sampling import Sampling
from decant.apps.trial import Question, prepare
from decant.bench.study import begin, heading, options, save
from decant.house import build
from decant.models.load import Loaded

RECIPES = ("distillspec", "adaspec", "gkd", "hinton")
SOURCES = ("house:tasks", "house:code")
BEFORE = "before"


def arguments() -> argparse.Namespace:
    parser = options(__doc__, repeat=1)
    parser.set_defaults(threads=1)
    parser.add_argument("--minutes", type=float, default=5, help="of training, of each draft")
    parser.add_argument("--untuned", type=float, help="begin from an untuned draft of a build of so many minutes")
    parser.add_argument("--only", default=",".join(RECIPES), help="recipes with commas between")
    parser.add_argument("--temperature", type=float, action="append", help="may be repeated (default: 0 and 1)")
    parser.add_argument("--depth", type=int, default=5, help="guesses of a chain")
    parser.add_argument("--limit", type=int, default=60, help="prompts of a set")
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--texts", type=int, default=2000, help="training questions, and as many functions")
    chosen = parser.parse_args()
    chosen.temperature = chosen.temperature or [0.0, 1.0]
    if chosen.quick:
        chosen.minutes, chosen.limit, chosen.max_tokens, chosen.texts = 0.01, 2, 8, 8
        chosen.only, chosen.temperature = "distillspec", [1.0]
    return chosen


def start(chosen: argparse.Namespace) -> str:
    """The draft before it is taught."""
    if chosen.untuned is None:
        return "house:draft"
    shop = build.workshop(chosen.untuned).with_name(f"{chosen.untuned:g}-minutes-of-code")
    build.fit("draft", build.untrained_draft(build.prepare(shop)[0]), chosen.untuned, shop, code_rows=1.0)
    return str(shop / "export" / "draft")


def drafts(chosen: argparse.Namespace, home: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Folders by name, and what each lesson says of itself."""
    first = start(chosen)
    texts = mixed(home / f"mixed-{chosen.texts}.jsonl", chosen.texts)
    folder = home / (f"{chosen.minutes:g}-minutes" + (f"-of-code-{chosen.untuned:g}" if chosen.untuned else ""))
    folders, lessons = {BEFORE: first}, {}
    for name in chosen.only.split(","):
        lesson = Lesson(name, first, folder, chosen.minutes, texts=texts, answers=chosen.max_tokens)
        found = taught(lesson)
        folders[name] = str(lesson.out)
        lessons[name] = {one: found[one] for one in ("steps", "seconds", "before", "after")}
        print(f"{name}: {found['steps']} steps, {found['seconds']:.0f} s", flush=True)
    return folders, lessons


def race(target: Loaded, loaded: dict[str, Loaded], source: str, heat: float, chosen: argparse.Namespace) -> list[dict]:
    """A row of every draft, all of them beside the first."""
    pace = f"fixed:depth={chosen.depth}"
    question = Question(["draft-model"], source, loaded[BEFORE], None, pace, chosen.max_tokens)
    trial = prepare(target, question, read(source, chosen.limit), Sampling(temperature=heat), Opening(exact="off"))
    warp = warp_of(trial.sampling)
    made = {name: compose("draft-model", target, draft, warp, policy=pace) for name, draft in loaded.items()}
    trial = replace(trial, methods=[replace(method, name=name) for name, method in made.items()])
    raced = {one["name"]: one for one in trial.race(1, lambda done, total, text: None)["methods"]}
    before = raced[BEFORE]["acceptance_length"]
    return [
        {
            "draft": name,
            "tokens_a_call": raced[name]["acceptance_length"],
            "to_before": round(raced[name]["acceptance_length"] / before, 4),
            "by_position": raced[name]["acceptance_by_position"],
        }
        for name in loaded
    ]


def line(row: dict[str, Any]) -> str:
    kept = " ".join(f"{share:.3f}" for share in row["by_position"])
    return f"  {row['draft']:<14}{row['tokens_a_call']:6.3f} a call, {row['to_before']:.3f} of before; kept {kept}"


if __name__ == "__main__":
    chosen = arguments()
    facts = begin(chosen)
    print(heading(facts))
    opening, results = Opening(exact="off"), []
    with place("drafts", chosen.quick) as home:
        folders, lessons = drafts(chosen, home)
        target, loaded = opening.target(TEACHER), {name: opening.draft(one) for name, one in folders.items()}
        report = {"machine": facts, "minutes": chosen.minutes, "untuned": chosen.untuned, "lessons": lessons}
        for source in SOURCES[: 1 if chosen.quick else None]:
            for heat in chosen.temperature:
                rows = race(target, loaded, source, heat, chosen)
                print("\n".join([f"{source}, temperature {heat:g}", *map(line, rows)]), flush=True)
                results.append({"source": source, "temperature": heat, "rows": rows})
                save(report | {"depth": chosen.depth, "results": results}, __file__, chosen)
