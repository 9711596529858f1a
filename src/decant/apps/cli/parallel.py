"""`decant bench --suite parallel`: a table of points, the area under each curve, and the picture."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

from decant.apps.cli.output import facts_table, note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.reports import subject
from decant.errors import BadInput, MissingExtra

MARKERS: Final = "osD^"  # ten colours come again with another mark


@final
@dataclass(frozen=True, slots=True)
class Asking:
    """What `bench` was asked, as `apps.trial.prepare` takes it."""

    model: Any
    question: Any
    sampling: Any
    opening: Any
    constraint: Any


def measure(asked: Asking, each: int | None, plot: Path | None, quiet: bool, json: str | None) -> None:
    """Run the suite and report. each: questions of a kind. Raises BadInput for a model that fills in no masks."""
    from decant.apps.choosing import choose
    from decant.apps.parallel import EACH, Suite, run, settings_of
    from decant.models.machine import machine

    specs = settings_of(asked.question.methods)
    if plot is not None:
        _plotting()
    target, draft = asked.opening.pair(asked.model, asked.question.draft, specs)
    if target.masked is None:
        raise BadInput(
            f"the suite parallel is for models that fill in masks, and {target.name} is none; take house:diffusion"
        )
    chosen = choose(asked.sampling, target, {**target.defaults, "do_sample": False}, constraint=asked.constraint)
    suite = Suite(each=each or EACH, seed=asked.question.seed)
    with progress(quiet) as told:
        found = run(target, draft, specs, chosen, suite, told)
    settings = {"source": "parallel", **asdict(suite)}
    report = {
        "machine": machine(),
        "model": target.facts(),
        "settings": {**chosen.facts(), **settings},
        **found,
    }
    write_json(report, json)
    if plot is not None:
        draw(report, plot)
        note(f"the picture is in {plot}", quiet)
    if json != "-":
        show_points(report)


def show_points(report: Mapping[str, Any]) -> None:
    """A header, a row for every point, and the area under each curve."""
    from rich.table import Table

    settings = report["settings"]
    cells = len(report["theory"])
    work = f"{cells} kinds of questions, {settings['each']} each, temperature {settings['temperature']:g}"
    show(facts_table({**subject(report), "work": work}))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold")
    for title in ("tokens\na pass", "right\n%", "one\nanswer", "many\nanswers", "passes of\ncopy, shuffle", "s"):
        table.add_column(title, justify="right", no_wrap=True)
    for point in report["points"]:
        table.add_row(
            point["method"],
            f"{point['tokens_a_pass']:.2f}",
            f"{point['score']:.1f}",
            f"{point['score_bound']:.1f}",
            f"{point['score_free']:.1f}",
            f"{point['passes_of_copy']:.1f}, {point['passes_of_shuffle']:.1f}",
            f"{point['seconds']:.1f}",
        )
    write("\n")
    show(table)
    curves = sorted(report["curves"], key=lambda curve: -curve["aup"])
    write("\naccuracy under parallelism: " + ", ".join(f"{one['family']} {one['aup']:.0f}" for one in curves) + "\n")
    for one in report["skipped"]:
        write(f"{one['method']} was skipped: {one['reason']}\n")


def draw(report: Mapping[str, Any], file: Path) -> None:
    """Percent right over tokens a pass, a line a method; the file's ending says which format."""
    plots = _plotting()
    figure, axes = plots.subplots(figsize=(9, 4.5), layout="constrained")
    for at, curve in enumerate(sorted(report["curves"], key=lambda curve: -curve["aup"])):
        points = sorted((p["tokens_a_pass"], p["score"]) for p in report["points"] if p["family"] == curve["family"])
        look = {"color": f"C{at % 10}", "marker": MARKERS[at // 10 % len(MARKERS)], "markersize": 5}
        axes.plot(*zip(*points, strict=True), **look, label=f"{curve['family']} ({curve['aup']:.0f})")
    axes.set_xlabel("tokens of answers a pass")
    axes.set_ylabel("right, %")
    axes.set_ylim(0, 100)
    axes.set_title(f"ParallelBench's tasks, {report['model']['name']} (AUP)", fontsize=10)
    figure.legend(loc="outside right center", fontsize=8)
    figure.savefig(file)
    plots.close(figure)


def _plotting() -> Any:
    """Raises MissingExtra."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("matplotlib is not installed: pip install 'decant[plot]'") from None
    return pyplot
