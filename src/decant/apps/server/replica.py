"""One of several servers of the same model: an engine in an actor of Ray Serve, without a port of its own."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from starlette.types import Message, Scope

from decant.apps.cli.start import quieten, use_threads
from decant.apps.server.asking import Asked, Served
from decant.apps.server.engine import Engine
from decant.apps.server.errors import refused
from decant.apps.server.metrics import Metrics
from decant.apps.server.recipe import Recipe, told
from decant.apps.server.replies import Kind
from decant.apps.server.routes import Desk
from decant.apps.server.streaming import refusal
from decant.apps.server.wire import Asking
from decant.errors import DecantError

SCOPE: Final[Scope] = {"type": "http", "method": "POST", "headers": []}


@final
@dataclass(frozen=True, slots=True)
class Call:
    """What was understood in front, for whoever answers. asked.seed: drawn, so that each replica answers alike."""

    kind: Kind
    body: Asking
    asked: Asked


@final
class Replica:
    """name: of this replica, unique. refusal: why the recipe cannot be served; then nothing is."""

    def __init__(self, recipe: Recipe) -> None:
        from ray import serve  # pyright: ignore[reportMissingImports]  (an extra)

        self.name = serve.get_replica_context().replica_id.unique_id
        self.refusal: DecantError | None = None
        self.heard: list[str] = []
        quieten(recipe.model, quiet=True)
        use_threads(recipe.threads)
        try:
            composer = recipe.composer(self.heard.append)
            served = Served(recipe.served, composer.session.method.name, recipe.max_tokens)
            self.engine = Engine(composer, recipe.bounds, Metrics())
            self.desk = Desk.of(self.engine, served)
        except DecantError as error:  # another try would say the same
            self.refusal = error
            return
        self.facts = told(composer)
        self.engine.start()

    def introduce(self) -> Mapping[str, Any] | DecantError:
        """What is served, and how; or why not."""
        return self.refusal or {**self.facts, "heard": self.heard}

    def check_health(self) -> None:
        """For Ray Serve, which replaces what raises."""
        if self.refusal is None and not self.engine.alive:
            raise RuntimeError("the engine's thread has ended")

    def counted(self) -> tuple[str, dict[str, str], bytes]:
        """Name, place, and what Prometheus reads."""
        where = {"node": socket.gethostname(), "pid": str(os.getpid())}
        return self.name, where, self.engine.metrics.text()

    async def answer(self, call: Call) -> AsyncIterator[Any]:
        """The replica's name, then what ASGI is to send, as it comes. Closed early, the call is cancelled."""
        yield self.name
        messages: asyncio.Queue[Message | None] = asyncio.Queue()
        sending = asyncio.create_task(self._send(call, messages))
        sending.add_done_callback(lambda _: messages.put_nowait(None))
        try:
            while (message := await messages.get()) is not None:
                ready = [message]
                while not messages.empty() and (message := messages.get_nowait()) is not None:
                    ready.append(message)
                yield ready
                if message is None:
                    break
            sending.result()
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, call: Call, messages: "asyncio.Queue[Message | None]") -> None:
        async def receive() -> Message:
            await asyncio.Event().wait()  # who goes away cancels
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            messages.put_nowait(message)

        try:
            response = self.desk.answer(call.kind, call.body, call.asked)
        except Exception as error:
            response = refusal(refused(error))
        await response(SCOPE, receive, send)
