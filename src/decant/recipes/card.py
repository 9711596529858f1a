"""README.md of a taught student."""

from collections.abc import Mapping
from typing import Any, Final

CARD: Final = """\
---
library_name: transformers
pipeline_tag: text-generation
tags: [distillation, decant]
---
# {student}, taught by {teacher}

Made with decant {version} by the recipe `{recipe}`:

    {command}

| | |
|---|---|
| texts | {texts} |
| steps | {steps:,} |
| peak learning rate | {peak:g} |
| seconds | {seconds:,} |

{measured}
## Load it

    decant generate {folder} "..."

or in transformers: `AutoModelForCausalLM.from_pretrained(folder)`. The licence is the student's; what the teacher's
licence says of models that learn from it holds too.
"""

MEASURED: Final = """\
## Measured on texts that it was not taught on

Token by token beside the teacher, {tokens:,} positions.{bound}

| | before | after |
|---|---|---|
{rows}
"""

BOUND: Final = """
Of the teacher's law its {known} best tokens are known, and all others together: KL is a lower bound, the sum of minima
an upper one."""

NAMES: Final = {
    "kl": "KL(teacher, student), nats a token",
    "agreement": "same likeliest token",
    "acceptance": "sum of min(p, q): accepted by rejection sampling",
    "nats": "-log q of the text's own tokens",
}


def card(recipe: str, teacher: str, student: str, report: Mapping[str, Any]) -> str:
    """report: recipe.json."""
    before, after = report["before"], report["after"]
    shown = ""
    if before and after:
        rows = "\n".join(f"| {text} | {before[name]:.4f} | {after[name]:.4f} |" for name, text in NAMES.items())
        outcomes = after.get("outcomes")
        bound = BOUND.format(known=outcomes - 1) if outcomes else ""
        shown = MEASURED.format(tokens=after["tokens"], rows=rows, bound=bound)
    return CARD.format(
        recipe=recipe,
        teacher=teacher,
        student=student,
        version=report["versions"]["decant"],
        command=report["command"],
        folder=report["command"].rpartition("--out ")[2].split(" ")[0],
        texts=report["data"],
        steps=report["steps"],
        peak=report["peak"],
        seconds=report["seconds"],
        measured=shown,
    )
