"""`decant distill`: teach a head to guess what a model says next."""

from pathlib import Path
from typing import Annotated, Any

import typer

from decant.apps.catalog import RECIPES, pick
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import quieten, use_threads
from decant.apps.knobs import split


@sentences()
def distill(
    recipe: Annotated[str, typer.Argument(help="What to teach: a recipe of `decant methods`, as name:knob=value.")],
    teacher: Annotated[str, typer.Option(help="A Hub id, a folder in Hugging Face format, or house:target.")],
    texts: Annotated[
        str,
        typer.Option(
            "--data", help="Prompts (JSONL or text lines) for the teacher to answer; house:tasks; house:mixture."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the head: a new one, or one of a run that goes on.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 1000,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="As many steps as fit, in place of --steps.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Peak of the learning rate; else the recipe's.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts of a step, and prompts answered together.")] = 8,
    length: Annotated[int, typer.Option(min=8, help="Tokens of a text, at most.")] = 512,
    limit: Annotated[int | None, typer.Option(min=2, help="Prompts, at most.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="Of the answers; 0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of fresh weights, and of the order of texts.")] = 0,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Teach a head to guess what TEACHER says next.

    The teacher, which stays as it is, answers the prompts; its states are computed anew at every step. Interrupted,
    the same command goes on.
    """
    check_writable(json)
    pick(RECIPES, split(recipe).name, "recipe")
    quieten(teacher, quiet)
    use_threads(threads)

    from decant.apps.teaching import Asked, run
    from decant.models.machine import machine

    asked = Asked(
        recipe, teacher, texts, out, steps, minutes, rate, batch, length, limit, max_tokens, temperature, seed, device,
        quiet,
    )  # fmt: skip
    note(f"teaching {recipe} beside {teacher}", quiet)
    try:
        with progress(quiet) as told:
            report = run(asked, told)
    except KeyboardInterrupt:
        note(f"the same command goes on from {out}", quiet)
        raise
    write_json({"machine": machine(), "out": str(out), **report}, json)
    if json != "-":
        show(facts_table(_facts(report, out)))


def _facts(report: dict[str, Any], out: Path) -> dict[str, str]:
    """What was learnt, on held-out rows."""
    shares = zip(report["accuracy"], report["in_row"], strict=True)
    depths = {f"depth {depth}": f"{one:.1%} right, {row:.1%} in a row" for depth, (one, row) in enumerate(shares, 1)}
    size = f"{report['parameters']:,} parameters, {report['read_bytes'] / 1e6:.2f} MB read by a guess in bfloat16"
    return {
        "folder": str(out),
        "head": size,
        **depths,
        "greedy chain": f"{report['acceptance_length']:.2f} tokens a step",
    }
