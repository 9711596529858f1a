"""`decant bench --acceptance-bound`: what each verifier accepts of a draft model, beside the most that any could."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from decant.apps.cli.costs import numbers
from decant.apps.cli.output import facts_table, note, show, write, write_json
from decant.apps.cli.reports import subject
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.trial import Trial

DRAFTS: Final = "1,2,4"
POSITIONS: Final = 256  # along the target's own texts: a standard error of 0.02 or less


def drafts_asked(bound: bool, drafts: str | None, temperature: float) -> list[int] | None:
    """Numbers of guesses at one position; None where no bound is asked for. Raises BadInput."""
    if not bound:
        if drafts is not None:
            raise BadInput("--drafts goes with --acceptance-bound; a race takes --policy")
        return None
    if temperature == 0:
        raise BadInput("at temperature 0 every verifier accepts the same guesses; give --temperature 0.8 or another")
    return numbers("--drafts", drafts, DRAFTS)


def measure(trial: "Trial", drafts: list[int], quiet: bool, json: str | None) -> None:
    """Walk the target's texts with both models, and report. Raises BadInput where there is no draft model."""
    from dataclasses import replace

    from decant.apps.choosing import warp_of
    from decant.bench.bound import laws_along, report
    from decant.models.machine import machine

    if trial.draft is None:
        raise BadInput(f"{trial.target.name} names no draft model, whose guesses are to be judged; give --draft")
    note("walking the target's own texts with both models", quiet)
    target, draft = trial.led.model, replace(trial.draft.model, vocab=trial.target.model.vocab)
    pairs = laws_along(target, draft, trial.workload, warp_of(trial.sampling), POSITIONS)
    found = {
        "machine": machine(),
        "model": trial.target.facts(),
        "settings": {**trial.settings(), "prompts": len(trial.workload.prompts)},
        **report(pairs, drafts),
    }
    write_json(found, json)
    if json != "-":
        show_bound(found)


def show_bound(found: Mapping[str, Any]) -> None:
    """A header, and a row for every kind of siblings, number of guesses and verifier."""
    from rich.table import Table

    settings = found["settings"]
    work = f"{found['positions']} positions of {settings['source']}, temperature {settings['temperature']:g}"
    show(facts_table({**subject(found), "work": work}))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("siblings", "guesses", "optimal", "verifier", "reached", "of the\noptimum"):
        table.add_column(title, justify="left" if title in {"siblings", "verifier"} else "right", no_wrap=True)
    for row in found["rows"]:
        for first, judged in enumerate(row["verifiers"]):
            share = "" if judged["share"] is None else f"{judged['share']:.1%}{' *' if judged['estimated'] else ''}"
            head = (row["kind"].replace("_", " "), str(row["drafts"]), f"{row['optimal']:.4f}")
            table.add_row(*(head if not first else ("",) * 3), judged["verifier"], f"{judged['reached']:.4f}", share)
    write("\n")
    show(table)
    if any(judged["estimated"] for row in found["rows"] for judged in row["verifiers"]):
        write("* estimated on a lattice of 64 points; the others are exact sums\n")
