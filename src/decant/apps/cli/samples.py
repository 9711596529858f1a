"""`decant samples`: many samples of one prompt and their vote, or pass@k over questions with known answers.

Standard output gets the text that won, or the table of pass@k; how the votes fell goes to standard error.
"""

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.choosing import Flags, choosing, tell_choice
from decant.apps.cli.completions import facts
from decant.apps.cli.exits import FAILED, say, sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import quieten, use_threads
from decant.apps.prompts import Prompt, default_source, encode, text_prompt
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.samples import Poll, Samples
    from decant.apps.session import Limits, Session

SHOWN: Final = 60  # characters of an answer in the list of votes

Vote = Literal["majority", "certainty", "borda", "likelihood"]


@sentences()
@choosing
def samples(
    ctx: typer.Context,
    model: options.Model,
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; - or nothing reads standard input.")] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="Samples of a prompt.")] = 16,
    vote: Annotated[
        Vote, typer.Option(help="Who wins: most samples, most certainty, Borda's ranks of it, the likeliest sample.")
    ] = "majority",
    power: Annotated[float, typer.Option(help="With --vote borda: 0 is the majority; the more, the fewer decide.")] = 1,
    first: Annotated[int | None, typer.Option(help="Stop when so many samples have finished; only they vote.")] = None,
    answer: Annotated[
        str | None, typer.Option(help="Regular expression of the answer in a text: its first group, its last match.")
    ] = None,
    passes: Annotated[bool, typer.Option("--passes", help="pass@k over --prompts with known answers instead.")] = False,
    prompts: Annotated[
        str | None, typer.Option(help="With --passes: a JSONL file with answer in its lines, or house:tasks.")
    ] = None,
    limit: options.Limit = None,
    chat: Annotated[bool, typer.Option("--chat", help="A prompt is a message: answer it.")] = False,
    max_tokens: options.MaxTokens = 128,
    temperature: Annotated[
        float | None, typer.Option(help="By default the model's own, or 1 where the model's own is greedy.")
    ] = None,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    seed: options.Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End in front of this text; may be given several times.")
    ] = None,
    draft: options.Draft = None,
    method: Annotated[
        str, typer.Option(help="How to decode: many samples fill a batch, where guessing pays little.")
    ] = "plain",
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "off",
    widen: options.Widen = None,
    explain: options.Explain = False,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Draw many samples of PROMPT as one batch, and print the one that won the vote.

    With --passes: how often one of k samples is right, k = 1, 2, 4 ... n, over questions with known answers.
    """
    source = _source(model, prompt, prompts, passes, options.given(ctx, "prompts", "limit"))
    asked = [] if source else [_message(text_prompt(_read(prompt), "the prompt"), chat)]
    check_writable(json)
    check([method], verifier, policy)
    if power != 1 and vote != "borda":
        raise BadInput(f"--power is Borda's, and the vote is {vote}; add --vote borda, or leave --power out")
    sampling = flags.sampling(temperature)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.choosing import refuse_stops
    from decant.apps.opening import Opening
    from decant.apps.passes import passes as pass_rates
    from decant.apps.passes import questions
    from decant.apps.samples import Poll, drawn, open_sampling
    from decant.apps.session import Limits

    poll = Poll(n, vote, power, first, answer)
    if source and first is not None:
        raise BadInput("--passes counts whole samples, and --first stops them; give one or the other")
    tasks = questions(source, limit) if source else []
    limits = Limits(max_tokens, tuple(stop or ()))
    constraint, guidance = flags.constraint(), flags.leading()
    refuse_stops(constraint, limits.stop)
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    session = open_sampling(
        model, draft, sampling, opening, poll,
        method=method, verifier=verifier, policy=policy, constraint=constraint, guidance=guidance,
    )  # fmt: skip
    if explain:
        typed = method if options.given(ctx, "method") else None
        tell_choice(session, {"method": typed, "verifier": verifier, "policy": policy}, quiet)
    settings = _settings(session, poll, seed, limits)
    begin = time.perf_counter()
    if source:
        tasks = [replace(one, prompt=_message(one.prompt, chat)) for one in tasks]
        with progress(quiet) as told:
            rates = pass_rates(session, tasks, poll, seed, limits, told)
        report = {**settings, "source": source, **rates, "seconds": time.perf_counter() - begin}
        write_json(report, json)
        if json != "-":
            _show_passes(report)
        return
    found = drawn(session, encode(asked, session.led)[0], poll, seed, limits)
    seconds = time.perf_counter() - begin
    write_json({**settings, **_details(found), "seconds": seconds}, json)
    _tell(found, vote, seconds, json == "-", quiet)


def _source(model: str, prompt: str | None, source: str | None, passes: bool, given: list[str]) -> str | None:
    """Where questions come from; None: there is one prompt. given: options for many prompts that were typed."""
    if not passes:
        if given:
            raise BadInput(f"{', '.join(given)}: for questions with known answers; add --passes, or leave this out")
        return None
    if prompt is not None:
        raise BadInput("a PROMPT and --passes: one or the other; questions come from --prompts")
    return source or default_source(model)


def _read(prompt: str | None) -> str:
    """The prompt; without one, what comes in on standard input, less the newline at its end."""
    if prompt not in (None, "-"):
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise BadInput("what shall be continued? give a PROMPT, or - to read standard input")
    return sys.stdin.read().removesuffix("\n")


def _message(prompt: Prompt, chat: bool) -> Prompt:
    """Where texts are messages of the user: as one. What is a conversation already stays one."""
    if not chat or prompt.text is None:
        return prompt
    return replace(prompt, text=None, messages=({"role": "user", "content": prompt.text},))


def _settings(session: "Session", poll: "Poll", seed: int, limits: "Limits") -> dict[str, Any]:
    asked = {"n": poll.count, "vote": poll.vote, "power": poll.power, "first": poll.first, "answer": poll.pattern}
    return facts(session, {**asked, "seed": seed, "max_tokens": limits.max_tokens, "stop": list(limits.stop)})


def _details(found: "Samples") -> dict[str, Any]:
    return {
        "answer": found.answer,
        "votes": [{"answer": answer, "weight": weight} for answer, weight in found.votes.items()],
        "target_calls": found.steps,
        "samples": [
            {
                "text": one.text,
                "answer": one.answer,
                "reason": one.reason,
                "mean_logp": one.mean_logp if one.tokens else None,
                "certainty": one.certainty,
                "tokens": one.tokens,
                "logp": one.logp,
            }
            for one in found.samples
        ],
    }


def _tell(found: "Samples", vote: str, seconds: float, silent: bool, quiet: bool) -> None:
    """The text that won, and how; status 1 where there was nothing to vote for."""
    if found.best is None:
        say("no sample holds an answer; ask for more tokens (--max-tokens) or another --answer")
        raise typer.Exit(FAILED)
    if not silent:
        write(found.best.text + ("\n" if sys.stdout.isatty() else ""))
    tokens, ended = sum(len(one.tokens) for one in found.samples), sum(one.reason == "stop" for one in found.samples)
    note(
        f"{len(found.samples)} samples, {ended} finished, {tokens} tokens in {seconds:.2f} s and {found.steps} target "
        f"calls; by {vote}:",
        quiet,
    )
    for answer, weight in found.votes.items():
        line = " ".join(answer.split())
        note(f"{weight:9.3f}  {line if len(line) <= SHOWN else line[: SHOWN - 3] + '...'}", quiet)


def _show_passes(report: Mapping[str, Any]) -> None:
    from rich.table import Table

    from decant.apps.cli.reports import subject

    asked, law = report["settings"], report["power_law"]
    work = f"{len(report['questions'])} questions of {report['source']}, {asked['n']} samples each, temperature "
    said = {"questions": f"{work}{asked['temperature']:g}, seed {asked['seed']}"}
    if law is not None:
        said["fit"] = f"pass@k = exp(a k^b), a = {_interval(law['a'])}, b = {_interval(law['b'])}"
    said["voted"] = f"{report['voted']:.1%} right by {asked['vote']}"
    show(facts_table({**subject(report), **said}))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("")
    rows = {"all": report, **{one["task"]: one for one in report["by_task"] if one["task"]}}
    for one in report["pass_at_k"]:
        table.add_column(f"k={one['k']}", justify="right", no_wrap=True)
    table.add_column("voted", justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{one['value']:.1%}" for one in row["pass_at_k"]), f"{row['voted']:.1%}")
        if name == "all":
            table.add_row("  95 %", *(f"{one['low']:.0%}-{one['high']:.0%}" for one in row["pass_at_k"]), "")
    write("\n")
    show(table)
    if report["cut"]:
        write(
            f"{report['cut']} samples were cut at {asked['max_tokens']} tokens; a larger --max-tokens may cover more\n"
        )


def _interval(one: Mapping[str, float]) -> str:
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})"
