"""`decant tune`: the fastest way to decode a model's prompts on this machine, or that none pays."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.costs import numbers
from decant.apps.cli.exits import FAILED, sentences
from decant.apps.cli.output import check_writable, note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.simulating import Words, simulated
from decant.apps.cli.start import listed, quieten, use_threads
from decant.apps.prompts import default_source, read
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.deciding import Found
    from decant.tune.plan import Choice

UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
LOADING: Final = ("dtype", "weights", "device", "threads", "revision", "trust_remote_code", "exact", "widen", "layers")
SHOWN: Final = 12  # rows of a table


@sentences()
def tune(
    ctx: typer.Context,
    model: options.Model,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Folder for the plan, the report and the certificate.")
    ] = None,
    prompts: options.Prompts = None,
    limit: options.Limit = None,
    budget: Annotated[str, typer.Option(help="Time for all of it: 90s, 10m, 1h.")] = "10m",
    train: Annotated[str | None, typer.Option(help="Teach a head first, for so long, if that should pay.")] = None,
    draft: Annotated[
        list[str] | None, typer.Option(help="Draft model or trained head to consider; may be given several times.")
    ] = None,
    methods: options.Methods = "all",
    objective: Annotated[
        Literal["latency", "throughput"],
        typer.Option(help="What counts: seconds a token of a request, or tokens a second of the batch."),
    ] = "latency",
    batch: Annotated[
        str | None, typer.Option(help="Requests at a time, with commas between; 1 for latency, else 1,8.")
    ] = None,
    temperature: Annotated[str, typer.Option(help="0 is greedy; several with commas between.")] = "0",
    max_tokens: options.MaxTokens = 64,
    seed: options.Seed = 0,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "auto",
    widen: options.Widen = None,
    layers: options.Layers = "grow",
    simulate: Annotated[
        str | None, typer.Option(help="Predict for machines that are not here: h100-sxm, l4:devices=2, or a JSON file.")
    ] = None,
    acceptance: Annotated[
        str | None, typer.Option(help="With --simulate: a bench --json report, or an OUT; else it is measured here.")
    ] = None,
    context: Annotated[int, typer.Option(min=1, help="With --simulate: tokens in front of each request.")] = 1024,
    plan_only: Annotated[
        bool, typer.Option("--plan-only", help="Say what would be tried and how long it takes.")
    ] = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Measure, predict, race and decide: which method to decode MODEL with here, or none.

    Writes OUT/plan.json, for `generate --plan` and `serve --plan`; a report and a certificate, each with a page to
    read. Interrupted, the same command goes on. Nothing is chosen that changes what the model says. With --simulate
    nothing is raced: a ranking is predicted for machines that are not here.
    """
    check_writable(json)
    names = listed(methods)
    check([] if names == "all" else names)
    seconds = duration("--budget", budget)
    batches = numbers("--batch", batch, "1" if objective == "latency" else "1,8")
    heats = temperatures(temperature)
    if simulate is not None:
        quieten(model, quiet)
        use_threads(threads)
        loading = {name: value for name, value in ctx.params.items() if name in LOADING and name != "threads"}
        words = Words(
            model, simulate, acceptance, context, batches, (draft or [None])[0], prompts, limit, names, heats[0], seed,
            loading,
        )  # fmt: skip
        simulated(words, quiet, json)
        return
    if said := options.given(ctx, "acceptance", "context"):
        raise BadInput(f"{' and '.join(said)} without --simulate says nothing; name a machine with --simulate")
    if out is None:
        raise BadInput("tune writes a plan and needs a folder for it; name one with --out")
    source = prompts or default_source(model)
    asked_prompts = read(source, limit)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.deciding import sketch
    from decant.apps.deciding import tune as run
    from decant.apps.desk import Asked
    from decant.apps.opening import Opening

    asked = Asked(
        source, asked_prompts, out, seconds, tuple(draft or ()), names, objective,
        tuple(dict.fromkeys(batches)), tuple(dict.fromkeys(heats)), max_tokens, seed,
        None if train is None else duration("--train", train),
    )  # fmt: skip
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, layers=layers, weights=weights)
    note(f"loading {model}", quiet)
    if plan_only:
        show_sketch(sketch(model, asked, opening), json)
        return
    serving = [*typed(ctx), "--plan", str(out)]
    try:
        with progress(quiet) as told:
            found = run(
                model, asked, opening, told, lambda plan: shlex.join(["decant", "serve", model, *serving]),
                lambda sentence: note(sentence, quiet),
            )  # fmt: skip
    except KeyboardInterrupt:
        note(f"the same command goes on from {out}", quiet)
        raise
    write_json(found.plan.facts(), json)
    if json != "-":
        show_found(found, train is None)
        write(f"report: {out / 'report.html'}\n")
    if found.certificate is not None and found.certificate["holds"] is False:
        raise typer.Exit(FAILED)


def show_found(found: "Found", untaught: bool) -> None:
    """The races, what to do, what training would bring where none was asked for, and the command that serves."""
    for scene in found.report["scenes"]:
        show_scene(scene)
    for choice in found.plan.choices:
        write(f"{advice(choice)}\n")
    if untaught and found.report["training"]["pays"]:
        write(f"{found.report['training']['sentence']}\n")
    write(f"\n{found.report['command']}\n")


def show_sketch(sketched: Mapping[str, Any], json: str | None) -> None:
    """What would be tried, what not and why, and the time of each stage."""
    write_json(sketched, json)
    if json == "-":
        return
    write(f"would be looked at: {', '.join(sketched['candidates']) or 'nothing'}\n")
    for name, reason in sketched["refused"]:
        write(f"{name} would not: {reason}\n")
    for one in sketched["races"]:
        write(f"a race at batch {one['batch']}, temperature {one['temperature']:g}\n")
    told = {name: f"{seconds:.0f} s" for name, seconds in sketched["seconds"].items() if seconds is not None}
    write(f"time: {', '.join(f'{name} {seconds}' for name, seconds in told.items())}\n")


def duration(option: str, text: str) -> float:
    """Seconds of `90s`, `10m`, `1.5h`; a number alone is minutes. Raises BadInput."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None or float(found[1]) == 0:
        raise BadInput(f"{option} {text!r} is no time above 0; write 90s, 10m or 1h")
    return float(found[1]) * UNITS[found[2] or "m"]


def temperatures(text: str) -> list[float]:
    """Numbers from 0 on. Raises BadInput."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 0:
        raise BadInput(f"--temperature {text!r} are not numbers from 0 on with commas between, such as 0,0.8")
    return found


def typed(ctx: typer.Context) -> list[str]:
    """The options that say how the model is loaded, as they were typed: whoever uses the plan needs the same."""
    words: list[str] = []
    for name in LOADING:
        for spelt in options.given(ctx, name):
            value = ctx.params[name]
            words += [spelt] if value is True else [spelt, str(value)]
    return words


def advice(choice: "Choice") -> str:
    """What to do, in a sentence, and why."""
    where = f"at batch {choice.batch}, temperature {choice.temperature:g}"
    if choice.speedup is None:
        return f"On this machine, for these prompts, {where}: leave it off. {_sentence(choice.why)}"
    words, gain = shlex.join(choice.options), spelt(choice.speedup)
    return f"On this machine, for these prompts, {where}: {words}. It is {gain} as fast. {_sentence(choice.why)}"


def spelt(speedup: Mapping[str, float | None]) -> str:
    """2.40x (2.20-2.60)."""
    low, high = speedup["low"], speedup["high"]
    return f"{speedup['median']:.2f}x" + ("" if low is None or high is None else f" ({low:.2f}-{high:.2f})")


def show_scene(scene: Mapping[str, Any]) -> None:
    """A race as a table, the fastest first."""
    from rich.table import Table

    write(f"batch {scene['batch']}, temperature {scene['temperature']:g}\n")
    if scene["reason"] is not None:
        write(f"no race: {scene['reason']}\n\n")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("method", "times plain", "predicted", "turns", ""):
        table.add_column(title, no_wrap=title != "")
    for row in scene["ranking"][:SHOWN]:
        foretold = "" if row["predicted"] is None else f"{row['predicted']:.2f}"
        table.add_row(row["name"], spelt(row["speedup"]), foretold, str(row["turns"]), row["left"] or "")
    show(table)
    write("\n")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
