"""Print docs/methods.md from the catalogue.

python docs/methods.py > docs/methods.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from decant.apps import catalog
from decant.apps.knobs import knobs_of

HEAD = """\
# Methods

Generated from the catalogue by `make docs`: change `src/decant/apps/catalog/`, not this page. `decant methods` prints
the same for the version that you run.

A *method* is a drafter with the policy and the verifier that suit it, or a loop of its own. Drafters, verifiers and
policies combine freely (`--verifier`, `--policy`); `name:knob=value` sets a knob.
"""
TABLES: tuple[tuple[str, str, Mapping[str, catalog.Part]], ...] = (
    ("Drafters", "Who guesses.", catalog.DRAFTERS),
    ("Verifiers", "Who judges.", catalog.VERIFIERS),
    ("Policies", "How much to guess.", catalog.POLICIES),
    ("Decoders", "Loops of their own.", catalog.DECODERS),
    ("Unmaskers", "Of models that fill in masks: who decides which places settle.", catalog.UNMASKERS),
    ("Schedules", "Which of them may (`name:schedule=...`).", catalog.SCHEDULES),
    ("Caches", "What a pass computes anew (`name:cache=...`).", catalog.CACHES),
    ("Recipes", "What `decant distill` teaches.", catalog.RECIPES),
    ("Samplers", "What makes logits a law. `generate` takes their settings as options.", catalog.SAMPLERS),
    ("Constraints", "What may come next.", catalog.CONSTRAINTS),
)


def knobs(part: catalog.Part) -> str:
    """The knobs that a command can set, with their defaults."""
    made = part.get()
    settable = knobs_of(made, dict.fromkeys(catalog.WIRED))
    defaults = {field.name: field.default for field in fields(made) if field.name in settable} if settable else {}
    return ", ".join(f"`{name}={value}`" for name, value in defaults.items())


def promise(part: catalog.Part) -> str:
    """What the part keeps of plain decoding, where it is a verifier; else nothing."""
    made = part.get()
    if not hasattr(made, "seeded"):
        return ""
    if not made.exact:
        return "nothing"
    return "the same tokens" if made.seeded else "the same distribution"


def table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A Markdown table."""
    for row in [columns, ["---"] * len(columns), *rows]:
        yield f"| {' | '.join(row)} |"


def page() -> Iterator[str]:
    """The lines of the page."""
    yield HEAD
    yield "## Methods"
    yield ""
    yield from table(
        ["method", "what it is", "default policy", "default verifier", "needs", "source"],
        [
            [f"`{m.name}`", m.summary, m.policy and f"`{m.policy}`", m.policy and f"`{m.verifier}`", m.needs, m.source]
            for m in catalog.METHODS.values()
        ],
    )
    for title, subtitle, parts in TABLES:
        wide = title == "Verifiers"
        yield f"\n## {title}\n\n{subtitle}\n"
        yield from table(
            ["name", "what it does", *(["keeps"] if wide else []), "knobs", "needs", "source"],
            [
                [f"`{p.name}`", p.summary, *([promise(p)] if wide else []), knobs(p), p.needs, p.source]
                for p in parts.values()
            ],
        )


if __name__ == "__main__":
    print("\n".join(page()))
