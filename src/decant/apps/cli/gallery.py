"""`decant bench --suite images`: a table of methods, and a picture of what they make."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, final

import typer

from decant.apps.cli import options
from decant.apps.cli.choosing import FLAGS
from decant.apps.cli.images import FOLLOWED, makes_images
from decant.apps.cli.output import facts_table, note, show, write, write_file, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import quieten, use_threads
from decant.errors import BadInput, MissingExtra

REPEAT: Final = 3
SPEAKING: Final = (
    *("prompts", "max_tokens", "resume", "verifier", "policy", "dtype", "weights", "device", "revision"),
    *("trust_remote_code", "exact", "widen", "widen_draft", "layers", "costs", "contexts", "batches"),
    *("acceptance_bound", "drafts"),
)


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """What `bench` was asked. each: images of a class; repeat: seeds; batch: images at a time; None: as is usual.
    drawing: how the teacher shall draw, as it was said. student: a folder.
    """

    model: str
    methods: Sequence[str] | str
    student: str | None
    drawing: Mapping[str, Any]
    each: int | None
    repeat: int
    batch: int | None
    seed: int


@final
@dataclass(frozen=True, slots=True)
class Told:
    """Where the results go."""

    plot: Path | None
    html: str | None
    json: str | None
    quiet: bool


def refuse(ctx: typer.Context, model: str) -> None:
    """Raises BadInput for options of texts, and for a model that makes no images."""
    if wrong := options.given(ctx, *SPEAKING, *(name for name in FLAGS if name not in FOLLOWED)):
        raise BadInput(f"{', '.join(wrong)}: of texts, and the suite images makes images; leave it out")
    if not makes_images(model):
        raise BadInput(f"the suite images is for models of images, and {model} is none; take house:digits-ar")


def measure(asked: Asked, told: Told, threads: int | None) -> None:
    """Run the suite and report."""
    plotting = _plotting() if told.plot is not None else None
    quieten(asked.model, told.quiet)
    use_threads(threads)

    from decant.apps.gallery import EACH, Show, Suite, judge_of, run
    from decant.apps.painting import BATCH, Palette
    from decant.models.images.folder import read_images
    from decant.models.machine import machine

    palette = Palette(**asked.drawing)
    model = read_images(asked.model)
    suite = Suite(asked.each or EACH, asked.repeat, asked.seed, asked.batch or BATCH)
    parameters = sum(weight.numel() for weight in model.network.parameters())
    with progress(told.quiet) as tell:
        found = run(Show(model, judge_of(model), palette, asked.student), asked.methods, suite, tell)
    report = {
        "machine": machine(),
        "model": {"name": model.name, "kind": model.kind, "units": model.tokenizer.layout.units}
        | {"places": model.tokenizer.layout.places, "parameters": parameters, "classes": list(model.classes)},
        "settings": {"source": "images", **asdict(suite), **asdict(palette.over(model.drawing))},
        **found,
    }
    write_json(report, told.json)
    if told.plot is not None:
        draw(report, told.plot, plotting)
        note(f"the picture is in {told.plot}", told.quiet)
    if told.html is not None:
        from decant.pages import report as page

        write_file(page(report), told.html, "--html")
    if told.json != "-":
        show_methods(report)


def show_methods(report: Mapping[str, Any]) -> None:
    """A header, a row a method, and what the numbers are to be held against."""
    from rich.table import Table

    show(facts_table(header(report)))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold")
    titles = (
        "forwards",
        "ms an\nimage",
        "Frechet\ndistance",
        "to the\nteacher",
        "precision",
        "recall",
        "class\n% right",
    )
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("exact")
    for row in report["methods"]:
        low, high = row["spread"]["frechet_distance"]
        table.add_row(
            row["name"],
            f"{row['forwards']:.3g}",
            f"{1000 * row['seconds']:.2f}",
            f"{row['frechet_distance']:.2f} ({low:.2f}-{high:.2f})",
            f"{row['frechet_to_teacher']:.2f}",
            f"{row['precision']:.2f}",
            f"{row['recall']:.2f}",
            f"{100 * row['class_accuracy']:.1f}",
            {"tokens": "the same images", "distribution": "the same law"}.get(row["promise"], "lossy"),
        )
    write("\n")
    show(table)
    floors = report["floors"]
    write(
        f"\nFrechet distance in the features of a judge of our own (no FID), to {floors['reference_images']} real "
        f"images: two halves of those, {floors['real_halves_images']} images each, are {floors['real_halves']:.2f} "
        f"apart\n"
    )
    for one in report["skipped"]:
        write(f"{one['method']} was skipped: {one['reason']}\n")


def header(report: Mapping[str, Any]) -> dict[str, str]:
    """The machine, the model and the work, a line each."""
    machine, model, settings = report["machine"], report["model"], report["settings"]
    drawn = f"guidance {settings['guidance']:g}, temperature {settings['temperature']:g}, top-k {settings['top_k']}"
    classes = len(model["classes"])
    return {
        "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads",
        "model": f"{model['name']}, {model['places']} places in {model['units']} units, "
        f"{model['parameters'] / 1e6:.2g}M parameters",
        "teacher": f"{drawn}, top-p {settings['top_p']:g}",
        "work": f"{settings['each']} images of each of {classes} classes, {settings['batch']} at a time, "
        f"{settings['repeat']} seeds",
    }


def draw(report: Mapping[str, Any], file: Path, plots: Any) -> None:
    """A row of samples a method beside forwards against distance; the file's ending says which format."""
    pictures, rows = report["images"], report["methods"]
    figure = plots.figure(figsize=(11, 0.85 * len(pictures) + 0.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.1, 1))
    for axes, picture in zip(left.subplots(len(pictures), 1, squeeze=False)[:, 0], pictures, strict=True):
        axes.imshow(plots.imread(io.BytesIO(base64.b64decode(picture["png_base64"]))), cmap="gray", vmin=0, vmax=1)
        axes.set_title(picture["method"], loc="left", fontsize=8, pad=2)
        axes.set_xticks([])
        axes.set_yticks([])
    axes = right.subplots()
    for row in rows:
        low, high = row["spread"]["frechet_distance"]
        at = row["forwards"], row["frechet_distance"]
        axes.errorbar(
            *at, yerr=[[at[1] - low], [high - at[1]]], marker="o", color="C0" if row["exact"] else "C1", capsize=2
        )
        axes.annotate(row["name"], at, xytext=(5, 4), textcoords="offset points", fontsize=8)
    for axis, scale in ((axes.xaxis, axes.set_xscale), (axes.yaxis, axes.set_yscale)):
        scale("log")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("{x:g}")
    axes.set_xticks(sorted({round(row["forwards"], 1) for row in rows}))
    axes.set_xticks([], minor=True)
    axes.margins(0.15)
    axes.set_xlabel("forwards for an image")
    axes.set_ylabel("Frechet distance to real images, features of our own judge")
    axes.set_title(f"{Path(report['model']['name']).name} (blue: the teacher's own law)", fontsize=10)
    figure.savefig(file, dpi=150)
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
