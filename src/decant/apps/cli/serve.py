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
    from decant.apps.server.place import Place
    from decant.apps.session import Session


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

    --json writes where and what is served as soon as it is.
    """
    if not max_body_mb > 0:
        raise BadInput(f"--max-body-mb is more than 0, got {max_body_mb:g}")
    if plan is not None and (given := options.given(ctx, "draft", "method", "verifier", "policy")):
        raise BadInput(f"--plan says how to decode; leave out {' and '.join(given)}, or --plan")
    from decant.apps.server.bounds import Bounds
    from decant.apps.server.keys import Keys
    from decant.apps.server.place import Place

    place = Place(host, port, Keys.read(api_keys), int(max_body_mb * 2**20), grace)
    bounds = Bounds(batch, queue, cache_mb, timeout)
    check_writable(json)
    check([] if method is None else [method], verifier, policy)
    _refuse_missing()
    quieten(model, quiet)
    use_threads(threads)

    import asyncio

    from decant.apps.opening import Opening
    from decant.apps.sampling import Sampling
    from decant.apps.server.asking import Served
    from decant.apps.server.composing import Composer
    from decant.apps.server.lifecycle import Service, warm
    from decant.apps.server.lifecycle import serve as run
    from decant.apps.session import open_session

    listening = place.bound()
    opening = Opening(dtype, device, exact, revision, trust_remote_code, widen, weights=weights)
    target = opening.target(model)
    if plan is not None:
        from decant.apps.planned import planned

        said = planned(plan, target, opening, batch=batch)
        draft, method, verifier, policy = said.draft, said.method, said.verifier, said.policy
        note(f"the plan says {' '.join(said.options)}: {said.why}", quiet)
    session = open_session(
        target, draft, Sampling(), opening, method=method, verifier=verifier, policy=policy, prefix_mb=prefix_mb
    )
    composer = Composer(session, verifier, policy)
    warm(composer)
    service = Service.of(composer, Served(model, session.method.name, max_tokens), bounds, place)
    told = _facts(model, session, place, listening.getsockname()[1])

    def ready() -> None:
        write_json(told, json)
        note(f"{model} at {told['url']}: {session.method.name}, {_promise(told['promise'])}", quiet)
        note(f"{session.target.exact_note}; Ctrl-C ends", quiet)

    asyncio.run(run(service, listening, place, ready))


def _refuse_missing() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'decant[serve]'") from error


def _facts(model: str, session: "Session", place: "Place", port: int) -> dict[str, Any]:
    from decant.models.machine import machine

    host = f"[{place.host.strip('[]')}]" if ":" in place.host else place.host
    return {
        "url": f"http://{host}:{port}/v1",
        "served": model,
        "method": session.method.name,
        "promise": session.method.promise,
        "keys": len(place.keys.digests),
        "machine": machine(),
        "model": session.target.facts(),
        "draft": None if session.draft is None else session.draft.facts(),
    }


def _promise(promise: str | None) -> str:
    if promise is None:
        return "which promises nothing"
    return "the seed alone decides each text" if promise == "tokens" else "plain decoding's distribution"
