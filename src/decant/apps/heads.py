"""`decant distill` of a head: beside a teacher that stays as it is."""

from typing import Any

from decant.apps.teaching import Asked, Outcome, Told, place, recipe_of, rows_of
from decant.distill.heads.lesson import HeadRecipe
from decant.distill.heads.teach import teach as taught
from decant.distill.runs import Course
from decant.distill.trainer import Settings
from decant.models.teacher import Teacher


def teach(asked: Asked, told: Told) -> Outcome:
    """Answers first, where there are prompts; then the head. Raises BadInput."""
    asked.refuse("a head is taught beside its teacher alone", "student")
    recipe: HeadRecipe = recipe_of(asked.recipe)
    batches, held_out, measured = rows_of(asked, told)
    teacher = Teacher.open(asked.teacher, place(asked.device))
    settings = Settings(
        steps=asked.steps,
        peak=asked.rate or recipe.rate(recipe.spec(teacher)),
        warmup=100,
        decay=0.5,
        weight_decay=0.01,
        quiet=asked.quiet,
        tensorboard=asked.tensorboard,
    )
    course = Course(batches, held_out, settings, measured, asked.seed, asked.minutes, asked.origin())
    report = taught(recipe, teacher, course, asked.out)
    return Outcome(report, _facts(report))


def _facts(report: dict[str, Any]) -> dict[str, str]:
    """What was learnt, on held-out rows."""
    shares = zip(report["accuracy"], report["in_row"], strict=True)
    depths = {f"depth {depth}": f"{one:.1%} right, {row:.1%} in a row" for depth, (one, row) in enumerate(shares, 1)}
    size = f"{report['parameters']:,} parameters, {report['read_bytes'] / 1e6:.2f} MB read by a guess in bfloat16"
    return {"head": size, **depths, "greedy chain": f"{report['acceptance_length']:.2f} tokens a step"}
