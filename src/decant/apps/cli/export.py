"""`decant export`: a model, and what drafts for it, in the formats of other engines."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.export.names import known

Weights = Literal["int8", "auto", "f32", "f16", "bf16", "q8_0"]


@sentences()
def export(
    model: options.Model,
    out: Annotated[Path, typer.Option(help="The folder to write: a new one, or an earlier export of the same model.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="transformers, int8, gguf, vllm, sglang, llama.cpp; of several, commas between, each in its folder."
        ),
    ] = None,
    draft: options.Draft = None,
    method: Annotated[
        str | None,
        typer.Option(help="What the engine drafts with, as decant calls it: name:knob=value; plain: nothing."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option(help="A folder of decant tune: its method, draft and certificate, for batch 1.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(dir_okay=False, help="What decant prove --json wrote: copied, and shown on the card.")
    ] = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Of GGUF: how matrices are stored; auto loses nothing. int8 is --to int8.")
    ] = None,
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Write MODEL for other engines: a folder for transformers, eight-bit weights, GGUF, or all that vLLM, SGLang or
    llama.cpp need to draft."""
    check_writable(json)
    formats = known(to or ("int8" if weights == "int8" else "transformers"))
    check([] if method is None else [method])
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.exporting import Drafting, chosen
    from decant.export.evidence import Evidence
    from decant.export.formats import Asked, run
    from decant.models.machine import machine

    proof, choice = (None, None) if plan is None else chosen(plan, model)
    drafting = Drafting.of(method, draft, choice, trust_remote_code)
    drafting.refuse(formats)
    asked = Asked(
        model=model,
        out=out,
        formats=formats,
        weights="auto" if weights in {None, "int8"} else str(weights),
        speculation=drafting.asked,
        evidence=Evidence.read(certificate or proof, choice),
        revision=revision,
        trust_remote_code=trust_remote_code,
        settings={"method": drafting.method, "draft": drafting.draft, "weights": weights},
    )
    exports = run(asked, lambda text: note(text, quiet))
    alone = exports[0] if len(exports) == 1 else {}
    write_json({"machine": machine(), **alone, "out": str(out), "exports": exports}, json)
    if json != "-":
        show(facts_table({name: text for one in exports for name, text in _facts(one, len(exports) > 1).items()}))


def _facts(report: dict[str, Any], several: bool) -> dict[str, str]:
    """What was written, in a few lines."""
    size = sum(file["bytes"] for file in report["files"]) / 1e6
    front = f"{report['to']}: " if several else ""
    said = {f"{front}folder": f"{report['out']} ({size:.1f} MB, {len(report['files'])} files)"}
    if "cost" in report:
        cost = report["cost"]
        measured = f"{cost['nats']:.4f} nats a token, {cost['same']:.1%} the same likeliest token"
        said[f"{front}cost"] = f"{measured} (KL on {cost['tokens']} tokens that the original wrote)"
    if "command" in report:
        said[f"{front}command"] = f"{report['out']}/launch.sh runs {report['command']}"
    remarks = [*report.get("remarks", ()), *report.get("checked", ())]
    return said | {f"{front}note {at}": remark for at, remark in enumerate(remarks, 1)}
