"""`decant prove`: is anything lost? On your model, your prompts, your machine."""

from typing import Annotated, Any

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.certificates import show_certificate
from decant.apps.cli.choosing import Flags, choosing
from decant.apps.cli.exits import FAILED, INTERRUPTED, say, sentences
from decant.apps.cli.output import check_writable, note, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import listed, quieten, use_threads
from decant.apps.prompts import default_source, read
from decant.errors import BadInput


@sentences()
@choosing
def prove(
    model: options.Model,
    method: Annotated[
        str, typer.Option(help="Methods to prove, commas between, each name:knob=value; or all.")
    ] = "all",
    draft: options.Draft = None,
    prompts: options.Prompts = None,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Measured = 0.0,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    samples: Annotated[int, typer.Option(min=100, help="Draws behind each prompt, where a law is promised.")] = 2000,
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
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Prove that nothing is lost.

    A certificate: equality of tokens where a method promises it, a statistical test where it promises a distribution,
    and a planted fault that must be caught. Exit status 1 when it does not hold.
    """
    check_writable(json)
    names = listed(method)
    check([] if names == "all" else names, verifier, policy)
    if set(names) == {"plain"}:
        raise BadInput("plain decoding is what methods are held against; name one, such as --method prompt-lookup")
    sampling = flags.sampling(temperature)
    source = prompts or default_source(model)
    asked = read(source, limit)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.opening import Opening
    from decant.apps.trial import Question, prepare

    question = Question(names, source, draft, verifier, policy, max_tokens, batch, seed)
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, widen_draft, layers, weights)
    constraint, guidance = flags.constraint(), flags.leading()
    note(f"loading {model}", quiet)
    trial = prepare(model, question, asked, sampling, opening, constraint, guidance)
    certificate: dict[str, Any] = {}
    interrupted = False
    try:
        with progress(quiet) as told:
            certificate = trial.certify(samples, told, certificate.update)
    except KeyboardInterrupt:
        if not certificate:
            raise
        interrupted = True
        unchecked = trial.methods[len(certificate["checks"]) :]
        certificate["not_covered"] += [
            f"{one.name}, which was not checked: the run was interrupted" for one in unchecked
        ]
    write_json(certificate, json)  # first: the reader of a pipe may go away
    if json != "-":
        show_certificate(certificate, trial.target.decode)
    if interrupted:
        say(f"interrupted after {len(certificate['checks'])} of {len(trial.methods)} checks")
        raise typer.Exit(INTERRUPTED)
    if not certificate["holds"]:
        raise typer.Exit(FAILED)
