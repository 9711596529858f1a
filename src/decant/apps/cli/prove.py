"""`decant prove`: is anything lost? On your model, your prompts, your machine; or by the engine that you run."""

from typing import Annotated, Any, Final

import typer

from decant.apps.cli import options
from decant.apps.cli.certificates import show_certificate
from decant.apps.cli.choosing import Flags, choosing
from decant.apps.cli.exits import FAILED, INTERRUPTED, say, sentences
from decant.apps.cli.output import check_writable, write_file, write_json
from decant.apps.cli.proving import Before, Proof, prove_engine, prove_methods
from decant.apps.repeating import AGAIN, read, record, same_verdict
from decant.errors import BadInput

OWN: Final = ("quiet", "json", "html", "again", "trust_remote_code")
"""Options that a certificate does not keep; remote code is never trusted on a file's word."""
ADDRESSES: Final = ("engine", "twin")


@sentences()
@choosing
def prove(
    ctx: typer.Context,
    model: Annotated[str | None, typer.Argument(help="A Hub id, a folder, house:target; none with --engine.")] = None,
    method: Annotated[
        str, typer.Option(help="Methods to prove, commas between, each name:knob=value; or all.")
    ] = "all",
    draft: options.Draft = None,
    prompts: options.Prompts = None,
    checks: Annotated[
        str, typer.Option(help="Of methods, batches, samplers, constraints; commas between.")
    ] = "methods,batches",
    max_tokens: options.MaxTokens = 128,
    temperature: options.Measured = 0.0,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    samples: Annotated[
        int | None, typer.Option(min=100, help="Draws behind each prompt, where a law is tested: 2000; of engines 480.")
    ] = None,
    batch: options.Batch = 1,
    limit: options.Limit = None,
    seed: options.Seed = 0,
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "on",
    widen: options.Widen = None,
    widen_draft: options.WidenDraft = None,
    layers: options.Layers = "grow",
    engine: Annotated[
        str | None, typer.Option(help="A server that speculates (OpenAI-compatible; its key: DECANT_ENGINE_KEY).")
    ] = None,
    twin: Annotated[str | None, typer.Option(help="With --engine: the same server without speculation.")] = None,
    engine_model: Annotated[str | None, typer.Option(help="With --engine: the name that it has for its model.")] = None,
    at_once: Annotated[int, typer.Option(min=1, max=256, help="With --engine: questions under way.")] = 8,
    again: Annotated[
        str | None, typer.Option("--again", help="Run this certificate again, and say whether it comes out the same.")
    ] = None,
    quiet: options.Quiet = False,
    html: options.Html = None,
    json: options.Json = None,
) -> None:
    """Prove that nothing is lost.

    A certificate: equality of tokens where a method promises it, statistical tests where it promises a distribution,
    and planted faults that must be caught. With --engine and --twin, a server of your own is held to the same test.
    Exit status 1 when it does not hold.
    """
    check_writable(json)
    check_writable(html, "--html")
    # Options that repeat are empty, not None, where nothing was typed.
    words = {name: None if value == () else value for name, value in ctx.params.items() if name not in OWN}
    before, typed = None, options.given(ctx, *words)
    if again is not None:
        before = Before(read(again), again)
        if strange := [name for name in typed if name not in ("--engine", "--twin")]:
            raise BadInput(f"--again {again} says what is proved; leave {', '.join(strange)} out")
        words = _recalled(words, before)
    words = {**words, "trust_remote_code": trust_remote_code}
    if words["engine"] is not None or words["twin"] is not None:
        trusted = again is None or {"--engine", "--twin"} <= set(typed)
        proof = prove_engine(words, before, quiet, trusted)
    elif words["model"] is None:
        raise BadInput("prove needs a MODEL; or --engine URL and --twin URL; or --again CERTIFICATE")
    else:
        proof = prove_methods(words, before, quiet)
    kept = {name: value for name, value in words.items() if name not in OWN}
    _finish(proof, kept, before, json, html)


def _recalled(words: dict[str, Any], before: Before) -> dict[str, Any]:
    """What a certificate was made of; addresses that are typed anew count instead of its own."""
    then = {name: value for name, value in before.report[AGAIN]["typed"].items() if name in words}
    moved = {name: words[name] for name in ADDRESSES if words[name] is not None}
    return {**words, **then, **moved}


def _finish(proof: Proof, words: dict[str, Any], before: Before | None, json: str | None, html: str | None) -> None:
    """Write, show, exit."""
    certificate = proof.certificate
    certificate[AGAIN] = record(words, proof.marks)
    if before is not None and not proof.interrupted:
        certificate["repeats"] = {"file": before.path, **same_verdict(before.report, certificate)}
    if html is not None:
        from decant.pages import certificate as page

        told = {"command": f"decant prove --again {json}"} if json not in (None, "-") else {}
        write_file(page({**certificate, **told}), html, "--html")
    write_json(certificate, json)  # before the text: the reader of a pipe may go away
    if json != "-":
        show_certificate(certificate, proof.spell)
    if proof.interrupted:
        say(f"interrupted after {len(certificate['checks'])} of {proof.planned} checks")
        raise typer.Exit(INTERRUPTED)
    if not certificate["holds"] or not certificate.get("repeats", {}).get("same", True):
        raise typer.Exit(FAILED)
