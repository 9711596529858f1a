"""`decant generate`: continue one prompt. Standard output gets the new text and nothing else."""

import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, note, write, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.apps.prompts import chat_prompt, encode, text_prompt
from decant.apps.sampling import Sampling
from decant.errors import BadInput

if TYPE_CHECKING:
    from decant.apps.session import Completion, Limits, Session


@sentences()
def generate(
    model: options.Model,
    prompt: Annotated[str | None, typer.Argument(help="Text to continue; - or nothing reads standard input.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="The prompt is a message: answer it.")] = False,
    max_tokens: options.MaxTokens = 128,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    seed: options.Seed = 0,
    stop: Annotated[
        list[str] | None, typer.Option(help="End in front of this text; may be given several times.")
    ] = None,
    draft: options.Draft = None,
    method: options.Method = None,
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "auto",
    widen: options.Widen = None,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Continue PROMPT with MODEL, as the text comes; statistics go to standard error."""
    text = _read(prompt)
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    asked = chat_prompt([{"role": "user", "content": text}], "the prompt") if chat else text_prompt(text, "the prompt")
    sampling = Sampling(temperature, top_k, top_p, min_p)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.opening import Opening
    from decant.apps.session import Limits, open_session

    limits = Limits(max_tokens, tuple(stop or ()))
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    session = open_session(model, draft, sampling, opening, method=method, verifier=verifier, policy=policy)
    [ids] = encode([asked], session.target)
    begin = time.perf_counter()
    run = session.run([ids], seed, limits)
    for [piece] in run:
        if json != "-":
            write(piece)
    seconds = time.perf_counter() - begin
    if json != "-" and sys.stdout.isatty():
        write("\n")
    note(_summary(session, run.completions[0], seconds, seed), quiet)
    write_json(_report(session, run.completions[0], seconds, len(ids), seed, limits), json)


def _read(prompt: str | None) -> str:
    """The prompt; without one, what comes in on standard input, less the newline at its end."""
    if prompt not in (None, "-"):
        return prompt
    if prompt is None and sys.stdin.isatty():
        raise BadInput("what shall be continued? give a PROMPT, or - to read standard input")
    return sys.stdin.read().removesuffix("\n")


def _summary(session: "Session", said: "Completion", seconds: float, seed: int) -> str:
    tokens = len(said.tokens)
    speed = f"{tokens} tokens in {seconds:.2f} s, {tokens / seconds:.1f} tokens/s"
    calls = f"{said.acceptance_length:.2f} a target call"
    warning = session.target.facts()["note"]
    notes = [session.target.exact_note, *([warning] if warning else [])]
    return "\n".join([f"{speed}, {calls}; {session.method.name}: {_promise(session, seed)}", *notes])


def _promise(session: "Session", seed: int) -> str:
    promised = session.method.promise
    if promised == "tokens":
        rounding = "" if session.target.model.rows else ", up to rounding"
        return f"the text of plain decoding with seed {seed}{rounding}"
    return "plain decoding's distribution, not its very tokens" if promised else "not plain decoding's distribution"


def _report(
    session: "Session", said: "Completion", seconds: float, prompt_tokens: int, seed: int, limits: "Limits"
) -> dict[str, object]:
    from decant.models.machine import machine

    return {
        "machine": machine(),
        "model": session.target.facts(),
        "draft": None if session.draft is None else session.draft.facts(),
        "settings": {
            "method": session.method.name,
            **session.sampling.facts(),
            "seed": seed,
            "max_tokens": limits.max_tokens,
            "stop": list(limits.stop),
        },
        "promise": session.method.promise,
        "prompt_tokens": prompt_tokens,
        "text": said.text,
        "tokens": said.tokens,
        "drafted": said.drafted,
        "reason": said.reason,
        "target_calls": said.steps,
        "acceptance_length": said.acceptance_length,
        "seconds": seconds,
    }
