"""Passing an answer on from whichever replica gives it, and what is told where that one dies.

A call of which nothing has been sent yet is put to another replica, once: its seed was drawn in front, so the answer is
the one that was on its way. A stream that has begun ends with an event that says why.
"""

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, final

from fastapi import Response
from starlette.types import Message, Receive, Scope, Send

from decant.apps.server.errors import Failure, refused
from decant.apps.server.replica import Call
from decant.apps.server.streaming import event, refusal, while_there

if TYPE_CHECKING:
    from decant.apps.server.fleet import Fleet

log = logging.getLogger("decant")


@final
class Passing(Response):
    """What a call becomes in front of replicas. Where the client goes away before it is through, it is cancelled."""

    def __init__(self, fleet: "Fleet", call: Call) -> None:
        super().__init__()
        self._fleet, self._call = fleet, call
        self._patience = asyncio.timeout(None)
        self._held: list[Message] = []
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        try:
            await while_there(self._send(scope, receive, send), receive)
        finally:
            self._fleet.left(self, time.perf_counter() - begun)

    @property
    def texts(self) -> int:
        """That are asked for."""
        return self._call.asked.count

    def end(self) -> None:
        """Now, with 503."""
        with contextlib.suppress(RuntimeError):  # not begun, or through already
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            failure = await self._passed(send)
        except TimeoutError:
            failure = self._fleet.late()
        except Exception as error:
            if not isinstance(error, Failure):
                log.exception("a call could not be passed on")
            failure = refused(error)
        if failure is None:
            return
        if self._begun:  # the status is sent already: an event must say it
            await send({"type": "http.response.body", "body": event(failure.body())})
        else:
            await refusal(failure)(scope, receive, send)

    async def _passed(self, send: Send) -> Failure | None:
        """Through one replica, or the second. Raises TimeoutError while none has room, and when it is told to end."""
        loop = asyncio.get_running_loop()
        async with self._patience:
            if self._fleet.ended:
                raise TimeoutError
            for _ in range(2):
                self._held.clear()
                self._patience.reschedule(loop.time() + self._fleet.recipe.bounds.timeout)
                try:
                    await self._once(send)
                    return None
                except self._fleet.hands.lost:
                    if self._begun:
                        break
        return Failure(503, "the replica that answered is gone; ask again", code="replica_lost", wait=1)

    async def _once(self, send: Send) -> None:
        reply = self._fleet.put(self._call)
        try:
            name = await anext(reply)
            self._patience.reschedule(None)  # its engine has a clock
            async for messages in reply:
                for message in messages:
                    await self._take(message, name, send)
            for message in self._held:
                await send(message)
        finally:
            reply.cancel()

    async def _take(self, message: Message, name: str, send: Send) -> None:
        """Send what belongs to a stream; hold what is whole until all of it is here."""
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], (b"x-decant-replica", name.encode())]
        if self._call.body.stream:
            self._begun = True
            await send(message)
        else:
            self._held.append(message)
