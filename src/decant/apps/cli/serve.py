"""`decant serve`: the OpenAI API over a model and a method, until SIGTERM or Ctrl-C."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from decant.apps.catalog import check
from decant.apps.cli import options
from decant.apps.cli.exits import sentences
from decant.apps.cli.output import check_writable, note, write_json
from decant.apps.cli.start import quieten, use_threads
from decant.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from decant.apps.server.lifecycle import Service
    from decant.apps.server.place import Place
    from decant.apps.server.recipe import Recipe


@sentences()
def serve(
    ctx: typer.Context,
    model: options.Model,
    draft: options.Draft = None,
    method: options.Method = None,
    verifier: options.Verifier = None,
    policy: options.Policy = None,
    plan: options.Plan = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    api_keys: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="File of keys, one a line; else DECANT_API_KEYS, commas between."),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Texts that run at a time.")] = 32,
    queue: Annotated[int, typer.Option(min=0, help="Texts that wait, at most; then 429.")] = 256,
    cache_mb: options.CacheMb = None,
    prefix_mb: Annotated[
        float, typer.Option(min=0, help="MB of prompts' beginnings that are kept for others.")
    ] = 256.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="New tokens of a text, at most.")] = 2048,
    max_body_mb: Annotated[float, typer.Option(help="MB of a request; then 413.")] = 2.0,
    timeout: Annotated[float, typer.Option(help="Seconds from a request to its end.")] = 600.0,
    grace: Annotated[float, typer.Option(min=0, help="Seconds that those that run have when the server stops.")] = 30.0,
    ray: Annotated[str | None, typer.Option(help="Replicas behind Ray Serve: auto, or a cluster's address.")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="With --ray: servers of the model, of --batch and --threads each; else 2.")
    ] = None,
    draft_store: options.DraftStore = None,
    draft_store_mb: options.DraftStoreMb = 256.0,
    dtype: options.Dtype = "auto",
    weights: options.Weights = "auto",
    device: options.Device = "auto",
    threads: options.Threads = None,
    revision: options.Revision = None,
    trust_remote_code: options.TrustRemoteCode = False,
    exact: options.Exact = "on",
    widen: options.Widen = None,
    quiet: options.Quiet = False,
    json: options.Json = None,
) -> None:
    """Serve MODEL under the OpenAI API: /v1/chat/completions, /v1/completions, /v1/models, /health, /metrics.

    With --ray calls that begin alike go to one replica, as long as it has room; when a replica dies, the calls that it
    had are put to another, or end with 503. --draft-store is written every five minutes and at the end; it goes
    without --ray. --json writes where and what is served as soon as it is.
    """
    if not max_body_mb > 0:
        raise BadInput(f"--max-body-mb is more than 0, got {max_body_mb:g}")
    if plan is not None and (given := options.given(ctx, "draft", "method", "verifier", "policy")):
        raise BadInput(f"--plan says how to decode; leave out {' and '.join(given)}, or --plan")
    if ray is None and replicas is not None:
        raise BadInput("--replicas goes with --ray: add --ray auto, or leave --replicas out")
    if ray is not None and draft_store is not None:
        raise BadInput(
            "--draft-store is for one server: replicas learn apart and would replace each other's file; leave out "
            "--draft-store, or --ray"
        )
    from decant.apps.server.bounds import Bounds
    from decant.apps.server.keys import Keys
    from decant.apps.server.place import Place

    place = Place(host, port, Keys.read(api_keys), int(max_body_mb * 2**20), grace)
    bounds = Bounds(batch, queue, cache_mb, timeout)
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    _refuse_missing()
    quieten(model, quiet)

    import asyncio

    from decant.apps.opening import Opening
    from decant.apps.server.lifecycle import serve as run
    from decant.apps.server.recipe import Recipe
    from decant.apps.store import DraftStore

    store = None if draft_store is None else DraftStore(draft_store, draft_store_mb)
    listening = place.bound()
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    recipe = Recipe(
        model, opening, bounds, draft, method, verifier, policy, plan, prefix_mb, max_tokens, threads, store=store
    )
    if ray is None:
        use_threads(threads)
        service, facts = _alone(recipe, place, quiet)
    else:
        service, facts = _many(recipe, place, ray, replicas or 2, quiet)
    exact_note = facts.pop("exact")
    told = {"url": _url(place, listening.getsockname()[1]), "served": model, "keys": len(place.keys.digests), **facts}

    def ready() -> None:
        write_json(told, json)
        note(f"{model} at {told['url']}: {told['method']}, {_promise(told['promise'])}", quiet)
        note(f"{exact_note}; Ctrl-C ends", quiet)

    asyncio.run(run(service, listening, place, ready))


def _alone(recipe: "Recipe", place: "Place", quiet: bool) -> tuple["Service", dict[str, Any]]:
    """In this process."""
    from decant.apps.server.asking import Served
    from decant.apps.server.lifecycle import Service
    from decant.apps.server.recipe import told

    composer = recipe.composer(lambda line: note(line, quiet))
    served = Served(recipe.model, composer.session.method.name, recipe.max_tokens)
    return Service.of(composer, served, recipe.bounds, place), told(composer)


def _many(
    recipe: "Recipe", place: "Place", address: str, replicas: int, quiet: bool
) -> tuple["Service", dict[str, Any]]:
    """In front of replicas."""
    from decant.apps.server.fleet import Crew, hired
    from decant.apps.server.lifecycle import Service, gated

    note(f"starting {replicas} replicas", quiet)
    crew = Crew(address, replicas, recipe.threads, recipe.opening.device != "cpu", place.grace)
    fleet, facts = hired(recipe.abroad(), crew, lambda line: note(line, quiet))
    facts = {name: fact for name, fact in facts.items() if name != "heard"}
    return Service(fleet, gated(fleet, fleet.metrics, place)), {**facts, "replicas": replicas}


def _refuse_missing() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'decant[serve]'") from error


def _url(place: "Place", port: int) -> str:
    host = f"[{place.host.strip('[]')}]" if ":" in place.host else place.host
    return f"http://{host}:{port}/v1"


def _promise(promise: str | None) -> str:
    if promise is None:
        return "which promises nothing"
    return "the seed alone decides each text" if promise == "tokens" else "plain decoding's distribution"
