"""`decant bench --costs`: what one pass of a model costs, by its number of new tokens, and the floor under it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

import typer

from decant.apps.cli.exits import INTERRUPTED, say
from decant.apps.cli.output import facts_table, note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.reports import count, spread_text, subject
from decant.errors import BadInput

CONTEXTS: Final = "256,1024"
BATCHES: Final = "1,4"
UNITS: Final = ("B", "kB", "MB", "GB")


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be measured: `bench.costs.Grid`, still without torch."""

    contexts: list[int]
    batches: list[int]
    repeat: int


def asked_of(costs: bool, contexts: str | None, batches: str | None, repeat: int, racing: list[str]) -> Asked | None:
    """None where no costs are asked for. racing: options of a race that were given. Raises BadInput."""
    if not costs:
        if contexts is not None or batches is not None:
            raise BadInput("--contexts and --batches go with --costs; a race takes --prompts and --batch")
        return None
    if racing:
        raise BadInput(
            f"{', '.join(racing)} {'is' if len(racing) == 1 else 'are'} for a race; --costs measures one pass of "
            f"the model (--contexts, --batches): leave out one or the other"
        )
    return Asked(numbers("--contexts", contexts, CONTEXTS), numbers("--batches", batches, BATCHES), repeat)


def measure(model: str, loading: tuple[Any, ...], asked: Asked, quiet: bool, json: str | None) -> dict[str, Any]:
    """Load, measure and report; what is done outlives an interrupt. loading: the fields of `Opening`. The report."""
    from decant.apps.opening import Opening
    from decant.bench.costs import Grid, run

    note(f"loading {model}", quiet)
    target, grid = Opening(*loading).target(model), Grid(asked.contexts, asked.batches, repeat=asked.repeat)
    report: dict[str, Any] = {}
    try:
        with progress(quiet) as told:
            report = run(target, grid, progress=told, partial=report.update)
    except KeyboardInterrupt:
        if not report:
            raise
        _finish(report, json)
        done, of = len(report["curves"]), len(set(asked.batches)) * len(set(asked.contexts))
        say(f"interrupted; these are {done} of {count(of, 'curve')}")
        raise typer.Exit(INTERRUPTED) from None
    _finish(report, json)
    return report


def show_costs(report: Mapping[str, Any]) -> None:
    """A header, a row for every pass, and what was left out."""
    from rich.table import Table

    show(facts_table(header(report)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("batch", "context", "new\ntokens", "ms", "times one\ntoken", "floor\nms", "floor\nreached"):
        table.add_column(title, justify="right", no_wrap=True)
    for curve in report["curves"]:
        for point in curve["points"]:
            table.add_row(
                str(curve["batch"]),
                str(curve["context"]),
                str(point["tokens"]),
                spread_text(point["ms"], 2),
                f"{point['relative']:.2f}",
                f"{curve['floor_ms']:.2f}",
                f"{point['floor_fraction']:.2f}",
            )
        table.add_row()
    write("\n")
    if report["curves"]:
        show(table)
    for left_out in report["skipped"]:
        tokens = ", ".join(map(str, left_out["tokens"]))
        where = f"batch {left_out['batch']}, context {left_out['context']}"
        write(f"{where} was skipped for {tokens} new tokens: {left_out['reason']}\n")
    if any(point["floor_fraction"] > 1 for curve in report["curves"] for point in curve["points"]):
        write("Passes are faster than the floor: the weights fit in the processor's cache.\n")


def header(report: Mapping[str, Any]) -> dict[str, str]:
    """The machine, the model, and what a pass must read, a line each."""
    read, settings = report["bytes"], report["settings"]
    return {
        **subject(report),
        "floor": f"{_size(read['weights'])} of weights and {_size(read['cached_token'])} of cache a token, "
        f"read at {report['bandwidth_gb_s']:.1f} GB/s",
        "work": f"passes over random ids, median of {settings['repeat']}",
    }


def _finish(report: dict[str, Any], json: str | None) -> None:
    write_json(report, json)  # first: the reader of a pipe may go away
    if json != "-":
        show_costs(report)


def numbers(option: str, text: str | None, default: str) -> list[int]:
    """Whole numbers from 1 on, with commas between. Raises BadInput."""
    text = default if text is None else text
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1:
        raise BadInput(f"{option} {text!r} are not whole numbers from 1 on with commas between, such as {default}")
    return found


def _size(size: float) -> str:
    """Three digits and a unit."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {UNITS[unit]}"
