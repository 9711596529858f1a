"""`decant datastore`: texts in which the method `retrieval` looks for what comes next."""

from pathlib import Path
from typing import Annotated, Any

import typer

from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import quieten, use_threads
from decant.apps.datastore import Answering, Asked, collect, run
from decant.apps.sampling import Sampling
from decant.errors import BadInput


@sentences()
def datastore(
    ctx: typer.Context,
    texts: Annotated[
        str,
        typer.Argument(
            help="A text file, JSONL with text, prompt, messages or turns, - for standard input, house:tasks|code."
        ),
    ],
    model: Annotated[str, typer.Option(help="Whose tokenizer: a Hub id, a folder, or house:target.")],
    out: Annotated[Path, typer.Option(help="The folder to write: a new one, or an earlier datastore.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take only the first texts.")] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="TEXTS are prompts; store them with the model's own answers.")
    ] = False,
    max_tokens: Annotated[int, typer.Option(min=1, help="With --answers: tokens of one, at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="With --answers: of these; 0 is greedy.")] = 0.0,
    batch: Annotated[int, typer.Option(min=1, help="With --answers: prompts answered together.")] = 8,
    seed: Annotated[int, typer.Option(help="With --answers: of these.")] = 0,
    device: Annotated[str, typer.Option(help="With --answers: auto, cpu, cuda, cuda:1 ...")] = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Make a datastore of TEXTS for the method retrieval.

    Texts are those that the model's own will be like; measure on others than these. Without --answers no weights are
    read.
    """
    check_writable(json)
    answering = None
    if answers:
        Sampling(temperature=temperature)
        answering = Answering(max_tokens, temperature, batch, seed, device)
    elif given := options.given(ctx, "max_tokens", "temperature", "batch", "seed", "device"):
        raise BadInput(f"{given[0]} says how prompts are answered; add --answers, or leave it out")
    asked = Asked(texts, model, out, limit, answering, revision, trust_remote_code)
    collected = collect(asked)
    quieten(model, quiet)
    use_threads(threads)
    note(f"{'answering' if answers else 'encoding'} {len(collected):,} texts of {texts} with {model}", quiet)
    try:
        with progress(quiet) as told:
            report = run(asked, collected, told)
    except KeyboardInterrupt:
        if answers:
            note(f"the same command goes on from {out}", quiet)
        raise
    write_json({**report, "out": str(out)}, json)
    if json != "-":
        show(facts_table(_facts(report, out)))
        write(f"next     {report['next']}\n")  # never wrapped: it is there to be copied


def _facts(report: dict[str, Any], out: Path) -> dict[str, str]:
    took = report["seconds"]
    total = sum(took.values())
    return {
        "folder": f"{out} ({report['bytes'] / 1e6:.1f} MB)",
        "texts": f"{report['count']:,}, {report['tokens']:,} tokens",
        "seconds": f"{total:.1f} ({', '.join(f'{name} {one:.1f}' for name, one in took.items())})",
    }
