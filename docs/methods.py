"""Print docs/methods.md from the catalogue.

python docs/methods.py > docs/methods.md
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields

from decant.apps import catalog
from decant.apps.catalog import swaps
from decant.apps.cli.methods import catalogue
from decant.apps.knobs import knobs_of

HEAD = """\
# Methods

Generated from the catalogue by `make docs`: change `src/decant/apps/catalog/`, not this page. `decant methods` prints
the same for the version that you run.

A *method* is a drafter with the policy and the verifier that suit it, or a loop of its own. Drafters, verifiers and
policies combine freely (`--verifier`, `--policy`); `name:knob=value` sets a knob. What a method keeps of plain decoding
is what its default verifier, or its own loop, keeps: see [what lossless means](what-lossless-means.md).
"""
KEPT = {"tokens": "the same tokens", "distribution": "the same distribution", None: "nothing (lossy)"}
JUDGED = ("Verifiers", "Decoders")
TABLES: tuple[tuple[str, str, Mapping[str, catalog.Part]], ...] = (
    ("Drafters", "Who guesses.", catalog.DRAFTERS),
    ("Verifiers", "Who judges.", catalog.VERIFIERS),
    ("Policies", "How much to guess.", catalog.POLICIES),
    ("Decoders", "Loops of their own.", catalog.DECODERS),
    ("Unmaskers", "Of models that fill in masks: who decides which places settle.", catalog.UNMASKERS),
    ("Schedules", "Which of them may (`name:schedule=...`).", catalog.SCHEDULES),
    ("Caches", "What a pass computes anew (`name:cache=...`).", catalog.CACHES),
    ("Recipes", "What `decant distill` teaches.", catalog.RECIPES),
    ("Distances", "In the place of a recipe's own (`--distance`): see [distil](distill.md).", swaps.DISTANCES),
    ("Weightings", "Which tokens count, in the place of a recipe's own (`--weighting`).", swaps.WEIGHTINGS),
    ("Curricula", "How the target moves, in the place of a recipe's own (`--curriculum`).", swaps.CURRICULA),
    ("Rollouts", "Whose texts, in the place of a recipe's own (`--rollouts`).", swaps.ROLLOUTS),
    ("Samplers", "What makes logits a law. `generate` takes their settings as options.", catalog.SAMPLERS),
    ("Constraints", "What may come next.", catalog.CONSTRAINTS),
)


def knobs(part: catalog.Part) -> str:
    """The knobs that a command can set, with their defaults."""
    made = part.get()
    settable = knobs_of(made, dict.fromkeys(catalog.WIRED))
    defaults = {field.name: field.default for field in fields(made) if field.name in settable} if settable else {}
    return ", ".join(f"`{name}={value}`" for name, value in defaults.items())


def keeps(part: catalog.Part) -> str:
    """What a verifier or a decoder keeps of plain decoding."""
    made = part.get()
    judges = {field.name for field in fields(made)} & {"verifier", "unmasker"}
    if not hasattr(made, "exact"):
        return f"what its {judges.pop()} keeps"
    promised = "tokens" if getattr(made, "seeded", True) else "distribution"
    return KEPT[promised if made.exact else None]


def table(columns: list[str], rows: list[list[str]]) -> Iterator[str]:
    """A Markdown table."""
    for row in [columns, ["---"] * len(columns), *rows]:
        yield f"| {' | '.join(row)} |"


def page() -> Iterator[str]:
    """The lines of the page."""
    promises = {row["name"]: row["promise"] for row in catalogue()["methods"]}
    yield HEAD
    yield "## Methods"
    yield ""
    yield from table(
        ["method", "what it is", "keeps", "default policy", "default verifier", "needs", "source"],
        [
            [
                f"`{m.name}`",
                m.summary,
                KEPT[promises[m.name]],
                m.policy and f"`{m.policy}`",
                m.policy and f"`{m.verifier}`",
                m.needs,
                m.source,
            ]
            for m in catalog.METHODS.values()
        ],
    )
    for title, subtitle, parts in TABLES:
        wide = title in JUDGED
        yield f"\n## {title}\n\n{subtitle}\n"
        yield from table(
            ["name", "what it does", *(["keeps"] if wide else []), "knobs", "needs", "source"],
            [
                [f"`{p.name}`", p.summary, *([keeps(p)] if wide else []), knobs(p), p.needs, p.source]
                for p in parts.values()
            ],
        )


if __name__ == "__main__":
    print("\n".join(page()))
