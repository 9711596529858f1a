"""The verbs under one name, and the last line of defence behind them."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

import decant
from decant.apps.cli.bench import bench
from decant.apps.cli.chat import chat
from decant.apps.cli.datastore import datastore
from decant.apps.cli.demo import demo
from decant.apps.cli.distill import distill
from decant.apps.cli.env import env
from decant.apps.cli.evaluate import evaluate
from decant.apps.cli.exits import INTERRUPTED, say, silence
from decant.apps.cli.export import export
from decant.apps.cli.generate import generate
from decant.apps.cli.methods import methods
from decant.apps.cli.prove import prove
from decant.apps.cli.samples import samples
from decant.apps.cli.serve import serve
from decant.apps.cli.tune import tune

app = typer.Typer(
    name="decant", no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"decant {decant.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Distil a model you have, decode it faster, prove that nothing was lost."""


for verb in (generate, chat, samples, bench, prove, tune, distill, serve, datastore, export, demo, methods, env):
    app.command()(verb)
app.command("eval")(evaluate)


def main() -> int:
    """Run the command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot spell a character gets a question mark
    try:
        app(prog_name="decant")
        status = 0
    except SystemExit as stop:
        # The parser itself exits 1 where nobody reads its help any longer; the verbs see to themselves.
        closed = isinstance(stop.__context__, BrokenPipeError)
        status = 0 if closed else stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        say("interrupted")
        status = INTERRUPTED
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        silence()
    return status
