"""`decant distill`: teach a student; or a head, a router, a model's own layers, so that it decodes faster."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from decant.apps.catalog import ALONE, DREAMING, RECIPES, pick
from decant.apps.catalog.swaps import SWAPS
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, facts_table, note, show, write_json
from decant.apps.cli.progress import progress
from decant.apps.cli.start import quieten, use_threads
from decant.apps.knobs import split
from decant.errors import BadInput

GIVEN: Final = (
    "teacher", "texts", "student", "knobs", "steps", "minutes", "rate", "batch", "length", "limit", "max_tokens",
    "temperature", "seed", "micro", "cache", "lora", *SWAPS,
)  # fmt: skip
SHARED: Final = {"steps": "steps", "batch": "batch", "lr": "rate", "seed": "seed"}  # knobs of every recipe are flags


@sentences()
def distill(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Where it is written: a new folder, or that of a run that goes on.")],
    recipe: Annotated[
        str | None, typer.Argument(help="What to teach: a recipe of `decant methods`, as name:knob=value.")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="A Hub id, a folder in Hugging Face format, or house:target; A+B or A*0.7+B*0.3; "
            "http://HOST/v1:model=NAME (its key: DECANT_TEACHER_KEY)."
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="JSONL (messages, conversations, prompt and answer, text, or prompts alone) or text lines; "
            "house:tasks; house:mixture.",
        ),
    ] = None,
    student: Annotated[
        str | None,
        typer.Option(help="The model that is taught; of router the small one, else the teacher's own draft."),
    ] = None,
    knobs: Annotated[
        list[str] | None,
        typer.Option("--set", help="knob=value of the recipe, or steps, batch, lr, seed; may be repeated."),
    ] = None,
    again: Annotated[
        Path | None, typer.Option("--recipe", help="The recipe.json of a run to repeat, in place of all but --out.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would run, in which memory and time; no more.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Only go on with a run that is in --out.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Steps of the optimiser.")] = 1000,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="As many steps as fit, in place of --steps.")] = None,
    rate: Annotated[
        float | None, typer.Option("--lr", "--rate", min=0, help="Peak of the learning rate; else the recipe's.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts of a step, and prompts answered together.")] = 8,
    length: Annotated[int, typer.Option(min=8, help="Tokens of a text, at most.")] = 512,
    limit: Annotated[int | None, typer.Option(min=2, help="Prompts, at most.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer, at most.")] = 256,
    temperature: Annotated[float, typer.Option(min=0, help="Of the answers; 0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of fresh weights, and of the order of texts.")] = 0,
    micro: Annotated[
        int | None,
        typer.Option(min=1, help="Texts that are read at once; else all of a step. minillm whitens over them."),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(
            help="Keep there what the teacher says of the data, then learn from that: DIR, DIR:k=32 (ids a token) or "
            "DIR:budget=100 (bytes); finished, it needs no --teacher."
        ),
    ] = None,
    lora: Annotated[int | None, typer.Option(min=1, help="Teach adapters of this rank; they are merged.")] = None,
    distance: Annotated[
        str | None, typer.Option(help="In place of the recipe's distance, as name:knob=value (see `decant methods`).")
    ] = None,
    weighting: Annotated[str | None, typer.Option(help="Which tokens count, in place of the recipe's.")] = None,
    curriculum: Annotated[str | None, typer.Option(help="How the target moves, in place of the recipe's.")] = None,
    rollouts: Annotated[str | None, typer.Option(help="Whose texts, in place of the recipe's.")] = None,
    ray: Annotated[
        str | None, typer.Option(help="Teacher and answers on workers of Ray: auto, or a cluster's address.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="With --ray: how many teach, and how many write.")] = 2,
    shard: Annotated[
        bool,
        typer.Option("--shard", help="Under torchrun: spread the student over the processes (FSDP2), not copy it."),
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Metrics as TensorBoard's events, too (extra [tensorboard]).")
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Teach a student, or what makes TEACHER decode faster.

    With --student a recipe teaches a whole model. A head learns to guess what the teacher says next, a router where a
    small model would lead elsewhere; layerskip and sorted teach a copy of the teacher to be left early. The teacher
    stays as it is. Interrupted, the same command goes on.
    """
    check_writable(json)
    if again is None and not _enough(recipe, texts, teacher or cache):
        raise BadInput("distill needs a recipe, --teacher and --data; or --recipe RUN/recipe.json, to repeat a run")
    if again is not None and (typed := [*([recipe] if recipe else []), *options.given(ctx, *GIVEN)]):
        raise BadInput(f"--recipe {again} says what is taught; leave {', '.join(typed)} out")
    own, shared = _shared(ctx, knobs or [])
    spec = ":".join([recipe or "", *own])
    if again is None:
        pick(RECIPES, split(spec).name, "recipe")
    swaps = {"distance": distance, "weighting": weighting, "curriculum": curriculum, "rollouts": rollouts}
    for role, named in swaps.items():
        if named is not None:
            pick(SWAPS[role], split(named).name, role)
    speaks = os.environ.get("RANK", "0") == "0"  # one of the processes that torchrun starts
    quiet = quiet or not speaks
    quieten(teacher or "", quiet)
    use_threads(threads)

    from decant.apps.teaching import Asked, recorded, run, sketch
    from decant.models.machine import machine

    if again is not None:
        told = recorded(again, out)
        asked = replace(
            told, ray=ray, workers=workers, shard=shard, tensorboard=tensorboard, resume=resume, device=device,
            quiet=quiet,
        )  # fmt: skip
    else:
        asked = Asked(
            spec, teacher or "", texts or "", out, student, steps, minutes, rate, batch, length, limit, max_tokens,
            temperature, seed, micro, cache, lora, distance, weighting, curriculum, rollouts, ray,
            workers, shard, tensorboard, resume, device, quiet,
        )  # fmt: skip
        asked = replace(asked, **shared)
    said = f"what the teacher says is in {asked.cache}" if asked.cache else f"{asked.student} learns from texts"
    who = f"the teacher is {asked.teacher}" if asked.teacher else said
    note(f"{'planning' if plan else 'teaching'} {asked.recipe}; {who}", quiet)
    try:
        with progress(quiet) as shown:
            outcome = (sketch if plan else run)(asked, shown)
    except KeyboardInterrupt:
        note(f"the same command goes on from {out}", quiet)
        raise
    if not speaks:
        return
    write_json({"machine": machine(), "out": str(out), **outcome.report}, json)
    if json != "-":
        show(facts_table({"folder": str(out), **outcome.facts}))


def _enough(recipe: str | None, texts: str | None, teacher: str | None) -> bool:
    """Whether a run is named: what is taught, on what, and by whom where somebody teaches."""
    if recipe is None:
        return False
    by = pick(RECIPES, split(recipe).name, "recipe").by
    return (texts is not None or by in DREAMING) and (bool(teacher) or by in ALONE)


def _shared(ctx: typer.Context, knobs: list[str]) -> tuple[list[str], dict[str, float]]:
    """The recipe's own knobs, and what was set of those that all have. Raises BadInput for what is no such number, or
    was said twice."""
    own, shared = [], {}
    for knob in knobs:
        name, _, value = knob.partition("=")
        if name not in SHARED:
            own.append(knob)
            continue
        if options.given(ctx, SHARED[name]):
            raise BadInput(f"--set {knob} and --{name} say the same; leave one out")
        least = {"seed": None, "lr": 0.0}.get(name, 1)
        try:
            shared[SHARED[name]] = found = float(value) if name == "lr" else int(value)
        except ValueError:
            raise BadInput(f"--set {knob}: {name} is a number; got {value!r}") from None
        if least is not None and not found >= least:
            raise BadInput(f"--set {knob}: {name} must be {least:g} or more")
    return own, shared
