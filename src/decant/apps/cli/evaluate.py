"""`decant eval`: quality by the lm-evaluation-harness, of a model under any decoding method."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, note, show, write, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.apps.sampling import Sampling
from decant.errors import BadInput


@sentences()
def evaluate(
    model: options.Model,
    tasks: Annotated[str, typer.Option(help="Tasks of the harness, with commas between; * stands for anything.")],
    include_path: Annotated[Path | None, typer.Option(help="A folder with task files (*.yaml) of your own.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Questions of each task, at most.")] = None,
    shots: Annotated[int | None, typer.Option(min=0, help="Examples in front of each question.")] = None,
    chat: Annotated[bool, typer.Option("--chat", help="Ask through the chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="What stands in front of each question.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of an answer, where a task does not say.")] = 256,
    temperature: Annotated[
        float | None, typer.Option(help="Of generated answers; by default as the tasks say.")
    ] = None,
    seed: options.Seed = 0,
    batch: options.Batch = 8,
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
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """What MODEL knows, by the lm-evaluation-harness: its table, and beside it what the method saved.

    A method generates answers; likelihoods are the model's own, whatever the method.
    """
    names = [name.strip() for name in tasks.split(",") if name.strip()]
    if not names:
        raise BadInput(f"--tasks {tasks!r} names nothing; give names of lm_eval ls tasks, commas between")
    if include_path is not None and not include_path.is_dir():
        raise BadInput(f"--include-path {include_path} is no folder; give one with task files (*.yaml)")
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    Sampling(temperature)
    quieten(model, quiet)
    if quiet or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")
    use_threads(threads)

    from decant.apps.evaluation import DecantLM
    from decant.apps.harness import Exam, examined, found, table

    index, matched = found(names, include_path)
    asked = DecantLM(
        pretrained=model, draft=draft, method=method, verifier=verifier, policy=policy, dtype=dtype, weights=weights,
        device=device, exact=exact, revision=revision, trust_remote_code=trust_remote_code, batch_size=batch,
        max_gen_toks=max_tokens, seed=seed,
    )  # fmt: skip
    report = examined(asked, index, matched, Exam(limit, shots, chat, system, temperature))
    if json != "-":
        write(table(report) + "\n")
        _tell(report["decant"], quiet)
    facts = {
        "model": asked.target.facts(),
        "draft": None if asked.session.draft is None else asked.session.draft.facts(),
    }
    settings = {"tasks": names, "limit": limit, "shots": shots, "chat": chat, "seed": seed, "temperature": temperature}
    write_json({"machine": _machine(), **facts, "settings": settings, **report}, json)


def _tell(spent: dict[str, Any], quiet: bool) -> None:
    """How the answers came about."""
    from rich.table import Table

    table = Table("answers of", "method", "requests", "tokens", "target calls", "tokens a call", box=None)
    for name, one in spent["tasks"].items():
        length = one["acceptance_length"]
        counts = (f"{one['requests']:,}", f"{one['tokens']:,}", f"{one['calls']:,}")
        table.add_row(name, spent["method"], *counts, "" if length is None else f"{length:.2f}")
    if spent["tasks"]:
        show(table)
    if spent["likelihoods"]:
        note(f"{spent['likelihoods']:,} likelihoods are the model's own scores; the method plays no part", quiet)


def _machine() -> dict[str, Any]:
    from decant.models.machine import machine

    return machine()
