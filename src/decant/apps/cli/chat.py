"""`decant chat`: a conversation in the terminal, or through a pipe. Standard output gets the answers."""

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.choosing import Flags, choosing, tell_choice
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, note
from decant.apps.cli.start import quieten, use_threads
from decant.apps.transcripts import refuse_overwriting, resumed
from decant.errors import BadInput


@sentences()
@choosing
def chat(
    ctx: typer.Context,
    model: options.Model,
    system: Annotated[str | None, typer.Option(help="What stands in front of the conversation.")] = None,
    max_tokens: options.MaxTokens = 512,
    temperature: options.Temperature = None,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    seed: options.Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End in front of this text; may be given several times.")
    ] = None,
    draft: options.Draft = None,
    method: options.Method = None,
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    plan: options.Plan = None,
    prefix_mb: Annotated[
        float | None, typer.Option(help="MB of earlier turns that are kept; by default the whole context fits.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Keep the conversation in this file after every answer.")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Go on with a conversation that was kept.")
    ] = None,
    draft_store: options.DraftStore = None,
    draft_store_mb: options.DraftStoreMb = 256.0,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "auto",
    widen: options.Widen = None,
    explain: options.Explain = False,
    quiet: options.Quiet = False,
    json: Annotated[
        str | None, typer.Option("--json", help="A line of JSON an answer to this file; - is standard output.")
    ] = None,
) -> None:
    """Talk with MODEL. What one turn read is not read again for the next.

    On a terminal /help lists the commands; piped in, a line is a message and only answers are printed.
    """
    if plan is not None and (refused := options.given(ctx, "draft", "method", "verifier", "policy")):
        raise BadInput(f"{', '.join(refused)}: --plan says how to decode; leave this out, or --plan")
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    sampling = flags.sampling(temperature)
    before, messages, known = ("", [], None) if resume is None else resumed(resume)
    if save is not None:
        refuse_overwriting(save, resume)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.chatting import Talk, remembering
    from decant.apps.choosing import refuse_stops
    from decant.apps.cli.conversing import Conversing
    from decant.apps.opening import Opening
    from decant.apps.session import Limits, open_session
    from decant.apps.store import DraftStore

    store = None if draft_store is None else DraftStore(draft_store, draft_store_mb)
    limits, constraint, guidance = Limits(max_tokens, tuple(stop or ())), flags.constraint(), flags.leading()
    refuse_stops(constraint, limits.stop)
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    host = model if plan is None else opening.target(model)
    if plan is not None:
        from decant.apps.planned import planned

        said = planned(plan, host, opening, temperature=temperature)
        method, draft, verifier, policy = said.method, said.draft, said.verifier, said.policy
        note(f"the plan says {' '.join(said.options)}: {said.why}", quiet)
    target, helper = remembering(opening, host, draft, method, prefix_mb)
    session = open_session(
        target, helper, sampling, opening,
        method=method, verifier=verifier, policy=policy, constraint=constraint, guidance=guidance,
        store=store,
    )  # fmt: skip
    if explain:
        tell_choice(session, {"method": method, "verifier": verifier, "policy": policy}, quiet)
    talk = Talk(session, limits, system=before if system is None else system, seed=seed)
    talk.messages = messages
    lively = sys.stdin.isatty() and sys.stdout.isatty() and json != "-"
    if known not in (None, model):
        note(f"the conversation was kept with {known}, and goes on with {model}", quiet)
    if lively:
        turns = f", {len(messages) // 2} answers so far" if messages else ""
        note(f"{model}, {session.method.name}{turns}; /help lists the commands, Ctrl-D ends", quiet)
    if json not in (None, "-"):
        Path(json).write_text("", encoding="utf-8")
    with closing(talk):
        Conversing(talk, lively, save, json, quiet).go()
