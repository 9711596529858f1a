"""`decant generate`: continue one prompt, or many. Standard output gets what is said and nothing else."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.choosing import Flags, choosing, tell_choice
from decant.apps.cli.completions import details, facts, summary, tell_lines
from decant.apps.cli.exits import sentences
from decant.apps.cli.images import COUNT, Order, draw, drawing_of, paints
from decant.apps.cli.output import check_writable, note, write, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.apps.cli.watching import check_watch
from decant.apps.prompts import Prompt, read, text_prompt
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.infilling import Infill
    from decant.apps.session import Run


@sentences()
@choosing
def generate(
    ctx: typer.Context,
    model: options.Model,
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; - or nothing reads standard input.")] = None,
    prompts: options.Prompts = None,
    limit: options.Limit = None,
    batch: options.Batch = 8,
    cache_mb: options.CacheMb = None,
    chat: Annotated[bool, typer.Option("--chat", help="A prompt is a message: answer it.")] = False,
    infill: options.Infill = False,
    fill_grammar: options.FillGrammar = None,
    label: options.Label = None,
    n: options.Count = None,
    out: options.Out = None,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = None,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    logprobs: options.Logprobs = None,
    processed_logprobs: options.ProcessedLogprobs = False,
    seed: options.Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End in front of this text; may be given several times.")
    ] = None,
    draft: options.Draft = None,
    draft_store: options.DraftStore = None,
    draft_store_mb: options.DraftStoreMb = 256.0,
    method: options.Method = None,
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    plan: options.Plan = None,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "auto",
    widen: options.Widen = None,
    watch: options.Watch = False,
    explain: options.Explain = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Continue PROMPT with MODEL, as the text comes; statistics go to standard error.

    With --prompts all prompts of a file, several at a time: a line of JSON for each, in their order. A model of images
    takes --label and writes --out instead.
    """
    if paints(ctx, model):
        check_writable(json)
        check([] if method is None else [method])
        together = batch if options.given(ctx, "batch") else None
        drawing = drawing_of(temperature, flags)
        order = Order(model, label or [], n or COUNT, method or "plain", draft, seed, together, drawing)
        draw(order, out, quiet, json, threads)
        return
    asked = _asked(prompt, prompts, limit, options.given(ctx, "limit", "batch", "cache_mb"))
    if infill and (refused := options.given(ctx, "chat", "max_tokens", "stop")):
        raise BadInput(f"{', '.join(refused)}: not with --infill, where the template is all there is; leave it out")
    if watch:
        check_watch(prompts is not None, quiet)
    if plan is not None and (refused := options.given(ctx, "draft", "method", "verifier", "policy")):
        raise BadInput(f"{', '.join(refused)}: --plan says how to decode; leave this out, or --plan")
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    sampling = flags.sampling(temperature)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.choosing import refuse_stops
    from decant.apps.infilling import encode
    from decant.apps.opening import Opening
    from decant.apps.session import PREFIX_MB, Batching, Limits, open_session
    from decant.apps.store import DraftStore
    from decant.decoders.saying import wanted

    limits, batching = Limits(max_tokens, tuple(stop or ())), Batching(batch, cache_mb)
    constraint, told = flags.constraint(), wanted(logprobs, processed_logprobs)
    guidance = flags.leading()
    refuse_stops(constraint, limits.stop)
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    prefix_mb = PREFIX_MB if len(asked) > 1 else 0
    store = None if draft_store is None else DraftStore(draft_store, draft_store_mb)
    target = model if plan is None else opening.target(model)
    if plan is not None:
        from decant.apps.planned import planned

        said = planned(plan, target, opening, batch=min(batch, len(asked)), temperature=temperature)
        method, draft, verifier, policy = said.method, said.draft, said.verifier, said.policy
        note(f"the plan says {' '.join(said.options)}: {said.why}", quiet)
    session = open_session(
        target, draft, sampling, opening,
        method=method, verifier=verifier, policy=policy, prefix_mb=prefix_mb, store=store,
        constraint=constraint, guidance=guidance, logprobs=told,
    )  # fmt: skip
    if explain:
        tell_choice(session, {"method": method, "verifier": verifier, "policy": policy}, quiet)
    ids = encode(_kinds(asked, chat, infill), session.led)
    if fill_grammar is not None:
        from decant.apps.obeying import obeying

        session = obeying(session, _rules(fill_grammar), ids)
    run = session.run(ids, seed, limits, batching)
    begin = time.perf_counter()
    if prompts is not None:
        tell_lines(run, len(ids), json == "-", quiet)
    else:
        _tell(run, watch, json == "-")
    seconds = time.perf_counter() - begin
    note(summary(session, run.completions, seconds, seed), quiet)
    found = [details(said, len(prompt_ids)) for said, prompt_ids in zip(run.completions, ids, strict=True)]
    settings = {"seed": seed, "max_tokens": limits.max_tokens, "stop": list(limits.stop)}
    settings |= {} if fill_grammar is None else {"fill_grammar": fill_grammar}
    together = {"batch": run.batch, "cache_mb": cache_mb}
    if prompts is None:
        write_json({**facts(session, settings), **found[0], "seconds": seconds}, json)
    else:
        write_json({**facts(session, settings | together), "completions": found, "seconds": seconds}, json)


def _asked(prompt: str | None, source: str | None, limit: int | None, of_many: list[str]) -> list[Prompt]:
    """What is to be continued. of_many: options that were given and are for many prompts only. Raises BadInput."""
    if source is None and of_many:
        raise BadInput(f"{', '.join(of_many)}: for many prompts; give them with --prompts FILE, or leave this out")
    if source is None:
        return [text_prompt(_read(prompt), "the prompt")]
    if prompt is not None:
        raise BadInput("a PROMPT and --prompts: one or the other; put all prompts in the file, or leave --prompts out")
    return read(source, limit)


def _read(prompt: str | None) -> str:
    """The prompt; without one, what comes in on standard input, less the newline at its end."""
    if prompt not in (None, "-"):
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise BadInput("what shall be continued? give a PROMPT, or - to read standard input")
    return sys.stdin.read().removesuffix("\n")


def _tell(run: "Run", watch: bool, silent: bool) -> None:
    """Run one prompt to the end. watch: its text comes at the end; silent: never."""
    if watch:
        from decant.apps.cli.watching import watched

        watched(run)
        if not silent:
            write(run.completion(0).text)
    else:
        for new in run:
            if not silent:
                write(new[0])
    if not silent and sys.stdout.isatty():
        write("\n")


def _kinds(asked: list[Prompt], chat: bool, infill: bool) -> "list[Prompt | Infill]":
    """Text as a message, or as a template, where it is one. Raises BadInput for messages as a template."""
    if not infill:
        return [_message(one) for one in asked] if chat else [*asked]
    from decant.apps.infilling import Infill

    found: list[Prompt | Infill] = []
    for one in asked:
        if one.text is None:
            raise BadInput(
                f"{one.where} holds messages, and --infill fills in texts; give it as text with gaps [MASK:n]"
            )
        found.append(Infill(one.text, "the template" if one.where == "the prompt" else one.where))
    return found


def _rules(grammar: str) -> str:
    """A name of a grammar as it is, else what the file holds. Raises BadInput for neither."""
    from decant.grammars.shipped import SHIPPED

    if grammar in SHIPPED:
        return grammar
    try:
        return Path(grammar).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"--fill-grammar {grammar} is neither {' nor '.join(SHIPPED)} nor a file of text that can be read; give one"
        ) from None


def _message(prompt: Prompt) -> Prompt:
    """Text as a message of the user; what is a conversation already stays one."""
    if prompt.text is None:
        return prompt
    return replace(prompt, text=None, messages=({"role": "user", "content": prompt.text},))
