"""`decant export`: a model in a folder that other engines read as well."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write_json
from decant.apps.cli.start import quieten, use_threads


@sentences()
def export(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="The folder to write: a new one, or an earlier export of the same model.")],
    weights: Annotated[Literal["int8"], typer.Option(help="What matrices are rounded to.")] = "int8",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Write MODEL with rounded weights (compressed-tensors, W8A8), and say what rounding costs."""
    check_writable(json)
    quieten(model, quiet)
    use_threads(threads)

    from decant.export import export as write_folder
    from decant.models.machine import machine

    note(f"rounding {model}", quiet)
    report = write_folder(model, out, weights, revision=revision, trust_remote_code=trust_remote_code)
    write_json({"machine": machine(), "out": str(out), **report}, json)
    if json != "-":
        cost = report["cost"]
        measured = f"{cost['nats']:.4f} nats a token, {cost['same']:.1%} the same likeliest token"
        show(
            facts_table(
                {
                    "folder": f"{out} ({sum(file.stat().st_size for file in out.iterdir()) / 1e6:.1f} MB)",
                    "cost": f"{measured} (KL on {cost['tokens']} tokens that the original wrote)",
                }
            )
        )
