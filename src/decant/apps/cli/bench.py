"""`decant bench`: methods raced against plain decoding, on the same prompts, in the same run."""

from pathlib import Path
from typing import Any, Final

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.bound import drafts_asked
from decant.apps.cli.bound import measure as bound
from decant.apps.cli.choosing import FLAGS, Flags, choosing
from decant.apps.cli.costs import asked_of, measure
from decant.apps.cli.exits import INTERRUPTED, say, sentences
from decant.apps.cli.gallery import REPEAT, Asked, Told, refuse
from decant.apps.cli.gallery import measure as measure_images
from decant.apps.cli.images import drawing_of
from decant.apps.cli.output import check_writable, note, write_file, write_json
from decant.apps.cli.parallel import Asking
from decant.apps.cli.parallel import measure as measure_suite
from decant.apps.cli.progress import progress
from decant.apps.cli.reports import show_race
from decant.apps.cli.start import listed, quieten, use_threads
from decant.apps.prompts import default_source, read
from decant.errors import BadInput

RACE: Final = (
    *("draft", "prompts", "methods", "max_tokens", "temperature", *FLAGS, "batch", "limit"),
    *("resume", "seed", "verifier", "policy", "widen_draft", "acceptance_bound", "drafts", "suite", "plot"),
)


@sentences()
@choosing
def bench(
    ctx: typer.Context,
    model: options.Model,
    draft: options.Draft = None,
    prompts: options.Prompts = None,
    methods: options.Methods = "all",
    max_tokens: options.MaxTokens = 128,
    temperature: options.Measured = 0.0,
    flags: Flags = Flags(),  # noqa: B008  (frozen)
    batch: options.Batch = 1,
    repeat: options.Repeat = 5,
    limit: options.Limit = None,
    resume: options.Resume = None,
    seed: options.Seed = 0,
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
    widen_draft: options.WidenDraft = None,
    layers: options.Layers = "grow",
    costs: options.Costs = False,
    contexts: options.Contexts = None,
    batches: options.Batches = None,
    acceptance_bound: options.AcceptanceBound = False,
    drafts: options.Drafts = None,
    suite: options.Suite = None,
    plot: options.Plot = None,
    html: options.Html = None,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Race methods against plain decoding.

    A table of tokens/s, acceptance, where the time goes, and whether the text is plain decoding's. Interrupted, it
    keeps what has finished. With --costs: what a pass of the model costs, by its number of new tokens. With
    --acceptance-bound: what each verifier accepts of the draft model, beside the most that any could. With --suite
    parallel: right answers over tokens a pass, of models that fill in masks; --limit is then the questions of a kind.
    With --suite images: how near the images of each method come to real ones; --limit is then the images of a class.
    """
    check_writable(json)
    check_writable(html, "--html")
    if suite == "images":
        refuse(ctx, model)
        names = listed(methods)
        check([] if names == "all" else names)
        said = options.given(ctx, "temperature", "repeat", "batch")
        drawing = drawing_of(temperature if "--temperature" in said else None, flags)
        often, together = repeat if "--repeat" in said else REPEAT, batch if "--batch" in said else None
        wanted = Asked(model, names, draft, drawing, limit, often, together, seed)
        measure_images(wanted, Told(plot, html, json, quiet), threads)
        return
    loading = (dtype, device, exact, revision, trust_remote_code, widen, widen_draft, layers, weights)
    wanted = asked_of(costs, contexts, batches, repeat, options.given(ctx, *RACE))
    if wanted is not None:
        quieten(model, quiet)
        use_threads(threads)
        _page({"costs": measure(model, loading, wanted, quiet, json)}, html)
        return
    if plot is not None and suite is None:
        raise BadInput("--plot draws what --suite measures; give --suite parallel or images")
    if html is not None and (suite is not None or acceptance_bound):
        raise BadInput("--html is the page of a race, or of --costs; take --json here")
    guesses = drafts_asked(acceptance_bound, drafts, temperature)
    names = ["draft-model"] if guesses else listed(methods)
    check([] if names == "all" else names, verifier, policy)
    sampling = flags.sampling(temperature)
    source = suite or prompts or default_source(model)
    asked = [] if suite else read(source, limit)
    quieten(model, quiet)
    use_threads(threads)

    from decant.apps.choosing import refuse_history
    from decant.apps.opening import Opening
    from decant.apps.trial import Question, prepare

    question = Question(names, source, draft, verifier, policy, max_tokens, batch, seed)
    opening = Opening(*loading)
    constraint, guidance = flags.constraint(), flags.leading()
    note(f"loading {model}", quiet)
    if suite is not None:
        measure_suite(Asking(model, question, sampling, opening, constraint), limit, plot, quiet, json)
        return
    trial = prepare(model, question, asked, sampling, opening, constraint, guidance)
    if guesses:
        refuse_history(trial.chosen)
        bound(trial, guesses, quiet, json)
        return
    report: dict[str, Any] = {}
    try:
        with progress(quiet) as told:
            report = trial.race(repeat, told, report.update, resume)
    except KeyboardInterrupt:
        if not report:
            raise
        _finish(report, json)
        _page({"race": report}, html)
        say(f"interrupted; these are the results of {_finished(report)}{_goes_on(resume)}")
        raise typer.Exit(INTERRUPTED) from None
    _finish(report, json)
    if html is not None:
        from decant.apps.shown import race_page

        _page(race_page(trial, report), html)


def _finish(report: dict[str, Any], json: str | None) -> None:
    write_json(report, json)  # first: the reader of a pipe may go away
    if json != "-":
        show_race(report)


def _page(facts: dict[str, Any], html: str | None) -> None:
    """The page of these facts, if one is asked for."""
    if html is None:
        return
    from decant.pages import report

    write_file(report(facts), html, "--html")


def _goes_on(resume: Path | None) -> str:
    return "" if resume is None else f"; the same command goes on from the whole rounds in {resume}"


def _finished(report: dict[str, Any]) -> str:
    done = report["finished"]
    return f"{done['repeats']} {'repeat' if done['repeats'] == 1 else 'repeats'} of {done['prompts']} prompts"
