"""`decant serve --ray`: replicas behind Ray Serve, which starts them, watches them, and sends each call to one of them.

Here is what stands in front: the port, keys and limits. Calls whose prompts begin alike go to the same replica, by
consistent hashing, for as long as it has room; else to the next one on the ring.
Source: Moritz et al. 2018, arXiv:1712.05889 (Ray).
"""

import asyncio
import contextlib
import logging
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from decant.apps.crews import ADDRESS
from decant.apps.server import schemas
from decant.apps.server.affinity import session_key
from decant.apps.server.asking import Asked, Served, refuse_many
from decant.apps.server.errors import Failure, full, stopping
from decant.apps.server.gathered import Count, page
from decant.apps.server.metrics import Metrics
from decant.apps.server.passing import Passing
from decant.apps.server.recipe import Recipe
from decant.apps.server.replica import Call, Replica
from decant.apps.server.replies import Kind
from decant.apps.server.wire import Asking
from decant.distill.spreading import ray
from decant.errors import BadInput, DecantError, MissingExtra

ROUTER: Final = "ray.serve.experimental.consistent_hash_router.ConsistentHashRouter"
STORE: Final = 256 * 2**20  # bytes of the object store of a cluster that is started here; calls and answers are small
PULSE: Final = 2.0  # seconds between two looks at a replica, and for an answer about all of them
LOOK: Final = 0.2  # seconds between two looks whether a replica is ready
DEPLOYMENT: Final = "replica"
QUIET: Final = {"log_level": "WARNING", "enable_access_log": False}


@final
@dataclass(frozen=True, slots=True)
class Crew:
    """Who is hired, and where. address: of a cluster; `auto` is RAY_ADDRESS's, or one that is started here.

    threads: CPU threads of each replica; None: an equal share of the cluster's. gpu: whether each gets one.
    """

    address: str = "auto"
    replicas: int = 2
    threads: int | None = None
    gpu: bool = True
    grace: float = 30.0

    def resources(self, nodes: list[Mapping[str, float]]) -> dict[str, int]:
        """Of each replica, as Ray counts them. nodes: what each node has. Raises BadInput where not all have room."""
        cpus, gpus = (sum(node.get(kind, 0) for node in nodes) for kind in ("CPU", "GPU"))
        each = {"num_cpus": self.threads or max(1, int(cpus // self.replicas))}
        each["num_gpus"] = 1 if gpus and self.gpu else 0
        room = [
            min(node.get("CPU", 0) // each["num_cpus"], node.get("GPU", 0) if each["num_gpus"] else self.replicas)
            for node in nodes
        ]
        if sum(room) < self.replicas:
            raise BadInput(
                f"--replicas {self.replicas} with {each['num_cpus']} threads and {each['num_gpus']} GPUs each find no "
                f"place on a cluster of {cpus:g} CPUs and {gpus:g} GPUs; give fewer replicas, or --threads"
            )
        return each


@final
@dataclass(frozen=True, slots=True, eq=False)
class Hands:
    """What was deployed. door: Ray Serve's handle. lost: what is raised where a replica is gone."""

    application: str
    door: Any
    lost: tuple[type[Exception], ...]


@final
class Fleet:
    """Behind the routes of the front, in place of one engine: a `routes.Counter` and a `lifecycle.Line`.

    open: texts that were asked for and have not ended. ended: those that still run were told to.
    """

    def __init__(self, hands: Hands, served: Served, recipe: Recipe, replicas: int) -> None:
        self.hands, self.recipe = hands, recipe
        self.served, self.created, self.metrics = served, int(time.time()), Metrics()
        self.open, self.draining, self.ended = 0, False, False
        self._texts = replicas * recipe.bounds.batch + recipe.bounds.queue
        self._calls: set[Passing] = set()
        self._counts: dict[str, Count] = {}
        self._running, self._spent = 1, 1.0

    def answer(self, kind: Kind, body: Asking, asked: Asked) -> Passing:
        """`routes.Counter`. Raises Failure: 503 while stopping, 429 where the line is full, 400 for more texts than one
        replica ever holds."""
        refuse_many(asked, self.recipe.bounds.texts)
        if self.draining:
            raise stopping()
        if self.open + asked.count > self._texts:
            raise full(self._spent)
        passing = Passing(self, Call(kind, body, asked))
        self._calls.add(passing)
        self.open += asked.count
        return passing

    def put(self, call: Call) -> Any:
        """A stream of what a replica answers; who that is, is the router's affair."""
        key = session_key(call.asked, call.body.prompt_cache_key)
        return self.hands.door.options(method_name="answer", stream=True, session_id=key).remote(call)

    def left(self, passing: Passing, seconds: float) -> None:
        """It is through, or its client is gone."""
        self._calls.discard(passing)
        self.open -= passing.texts
        self._spent += 0.1 * (seconds - self._spent)

    def late(self) -> Failure:
        """Why a call ends before a replica took it."""
        limit = self.recipe.bounds.timeout
        said = f"no replica had room within {limit:g} s; ask again later"
        return stopping() if self.ended else Failure(503, said, code="timeout", wait=1)

    async def health(self) -> schemas.Health:
        """`routes.Counter`: ready where a replica is."""
        with contextlib.suppress(TimeoutError):  # of a controller that is being replaced; replicas answer meanwhile
            self._running = await asyncio.wait_for(asyncio.to_thread(running, self.hands.application), PULSE)
        status = "stopping" if self.draining else "ok" if self._running else "waiting"
        return schemas.Health(status=status, open=self.open, replicas=self._running)  # pyright: ignore[reportCallIssue]  (it is open)

    async def counted(self) -> bytes:
        """`routes.Counter`: of each replica that answers; of none while they do not."""
        from ray.serve.exceptions import RayServeException  # pyright: ignore[reportMissingImports]

        try:
            said = await self.hands.door.broadcast("counted").results_async(timeout_s=PULSE, return_exceptions=True)
            self._counts = {one[0]: Count(*one) for one in said if not isinstance(one, BaseException)}
        except (TimeoutError, RayServeException):  # one hangs, or there is none: what was heard last
            pass
        return page(self.metrics.text(), list(self._counts.values()))

    def start(self) -> None:
        """`lifecycle.Line`: replicas run already."""

    def drain(self) -> None:
        """Take no more calls."""
        self.draining = True

    def fail(self) -> None:
        """End every call with 503."""
        self.ended = True
        for passing in list(self._calls):
            passing.end()

    def stop(self) -> None:
        """Let the replicas go; a cluster that was started here ends."""
        from ray import serve  # pyright: ignore[reportMissingImports]

        _dismiss(serve, self.hands.application)


def hired(recipe: Recipe, crew: Crew, say: Callable[[str], None]) -> tuple[Fleet, dict[str, Any]]:
    """Replicas, of which one is ready, and what is served. say: hears what a plan says.

    Raises MissingExtra without Ray Serve, BadInput for a cluster that is not there or too small, and what is wrong with
    the recipe.
    """
    serve, nodes = _cluster(crew.address)
    deployed = _deployment(serve, recipe, crew, crew.resources(nodes)).bind(recipe)
    application = f"decant-{uuid.uuid4().hex[:8]}"
    try:
        serve.start(proxy_location="Disabled", logging_config=QUIET)
        target = serve.RunTarget(deployed, name=application, route_prefix=None)
        [door] = serve.run_many([target], wait_for_applications_running=False)
        _wait(application)
        told = door.introduce.remote().result()
        if isinstance(told, Exception):
            raise told
    except BaseException:
        _dismiss(serve, application)
        raise
    for line in told["heard"]:
        say(line)
    raised = ray().exceptions
    lost = raised.RayActorError, raised.WorkerCrashedError, raised.ObjectLostError, raised.TaskCancelledError
    served = Served(recipe.served, told["method"], recipe.max_tokens)
    return Fleet(Hands(application, door, lost), served, recipe, crew.replicas), told


def _deployment(serve: Any, recipe: Recipe, crew: Crew, each: Mapping[str, int]) -> Any:
    """each: Ray's resources of a replica."""
    return serve.deployment(
        Replica,
        name=DEPLOYMENT,
        num_replicas=crew.replicas,
        ray_actor_options=dict(each),
        max_ongoing_requests=recipe.bounds.batch,
        max_queued_requests=-1,  # the front counts
        graceful_shutdown_timeout_s=crew.grace,
        graceful_shutdown_wait_loop_s=LOOK,
        health_check_period_s=PULSE,
        request_router_config={
            "request_router_class": ROUTER,
            "request_router_kwargs": {"num_fallback_replicas": crew.replicas},
        },
        logging_config=QUIET,
    )


def running(application: str) -> int:
    """Replicas that take calls."""
    return _count(_status(application))


def _cluster(address: str) -> tuple[Any, list[Mapping[str, float]]]:
    """Ray Serve, and what each node of the cluster has."""
    os.environ.setdefault("RAY_DEFAULT_OBJECT_STORE_MAX_MEMORY_BYTES", str(STORE))
    if address != "auto":
        os.environ[ADDRESS] = address
    try:
        from ray import serve  # pyright: ignore[reportMissingImports]  (an extra)
        from ray.serve.experimental import consistent_hash_router  # noqa: F401  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra(f"{error.name} is not installed: pip install 'decant[ray,serve]'") from error
    try:
        found = ray()
    except ConnectionError as error:
        raise BadInput(f"--ray {os.environ[ADDRESS]} is no cluster of Ray that answers: {error}") from error
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    return serve, [node["Resources"] for node in found.nodes() if node["Alive"]]


def _dismiss(serve: Any, application: str) -> None:
    """Replicas first: a cluster of somebody else's stays."""
    with contextlib.suppress(Exception):  # of a cluster that is gone
        serve.delete(application)
    ray().shutdown()


def _wait(application: str) -> None:
    """Until a replica is ready. Raises DecantError where Ray Serve gives up."""
    while True:
        found = _status(application)
        if _count(found):
            return
        if found is not None and found.status == "DEPLOY_FAILED":
            raise DecantError(f"no replica starts: {found.message}")
        time.sleep(LOOK)


def _status(application: str) -> Any:
    from ray import serve  # pyright: ignore[reportMissingImports]

    return serve.status().applications.get(application)


def _count(found: Any) -> int:
    one = None if found is None else found.deployments.get(DEPLOYMENT)
    return 0 if one is None else one.replica_states.get("RUNNING", 0)
