"""From a loaded model to a server that runs, and to one that has ended cleanly."""

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, final

import uvicorn

from decant.apps.server.asking import Served
from decant.apps.server.bounds import Bounds
from decant.apps.server.composing import Composer
from decant.apps.server.engine import Engine
from decant.apps.server.gate import Gate
from decant.apps.server.keys import loopback
from decant.apps.server.metrics import Metrics
from decant.apps.server.place import Place
from decant.apps.server.routes import Counter, Desk, application
from decant.apps.session import Limits

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LOOK: Final = 0.05  # seconds between two looks whether all have ended
FLUSH: Final = 5.0  # seconds that answers which are ready have to be sent


class Line(Protocol):
    """Who answers: one engine, or many. open: texts that were asked for and have not ended."""

    open: int

    def start(self) -> None:
        """Begin to answer."""
        ...

    def drain(self) -> None:
        """Take no more calls."""
        ...

    def fail(self) -> None:
        """End every call."""
        ...

    def stop(self) -> None:
        """Let go of everything."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """Who answers, and the ASGI application in front."""

    engine: Line
    app: Gate

    @classmethod
    def of(cls, composer: Composer, served: Served, bounds: Bounds, place: Place) -> "Service":
        """Nothing runs yet. Raises BadInput for a model without tokenizer files."""
        engine = Engine(composer, bounds, Metrics())
        return cls(engine, gated(Desk.of(engine, served), engine.metrics, place))


def gated(desk: Counter, metrics: Metrics, place: Place) -> Gate:
    """What stands at a port."""
    local = loopback(place.host) and not place.keys.digests
    return Gate(application(desk), place.keys, metrics, place.most, local)


def warm(composer: Composer) -> None:
    """Decode a few tokens, so that parts that cannot work together are refused before anybody asks, and the first call
    does not wait. Raises DecantErrors."""
    session = composer.session
    run = session.run([session.target.encode("Hello")], 0, Limits(4))
    for _ in run:
        pass


async def serve(service: Service, listening: socket.socket, place: Place, ready: Callable[[], None]) -> None:
    """Until SIGTERM or SIGINT: then those that run have `place.grace` seconds, and the others are told. A second signal
    ends their grace.

    ready: called when the first call can come.
    """
    config = uvicorn.Config(
        service.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=int(FLUSH)
    )
    server, loop = uvicorn.Server(config), asyncio.get_running_loop()
    signals: asyncio.Queue[None] = asyncio.Queue()
    service.engine.start()
    serving = loop.create_task(server.serve([listening]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(LOOK)
        for number in SIGNALS:  # uvicorn's own would end the process with the signal's status
            loop.add_signal_handler(number, signals.put_nowait, None)
        ready()
        stop = loop.create_task(signals.get())
        await asyncio.wait({serving, stop}, return_when=asyncio.FIRST_COMPLETED)
        await _wind_down(service.engine, place.grace, signals)
    finally:
        server.should_exit = True
        await serving
        await loop.run_in_executor(None, service.engine.stop)


async def _wind_down(engine: Line, grace: float, signals: "asyncio.Queue[None]") -> None:
    """Take no more calls, let those that run finish, fail what is left."""
    engine.drain()
    if engine.open:
        print(f"decant: stopping; {engine.open} texts have {grace:g} s to finish", file=sys.stderr, flush=True)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while engine.open and signals.empty():
                await asyncio.sleep(LOOK)
    engine.fail()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FLUSH):
            while engine.open:
                await asyncio.sleep(LOOK)
