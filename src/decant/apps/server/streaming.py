"""Sending an answer, whole or as server-sent events, for as long as the client is there.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from typing import Any, final

from fastapi import Response
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from decant.apps.server.engine import Engine
from decant.apps.server.errors import Failure
from decant.apps.server.replies import Form, joined
from decant.apps.server.sample import Piece
from decant.apps.server.ticket import Ticket

DONE = b"data: [DONE]\n\n"
HEADERS = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


@final
class Answer(Response):
    """What a call becomes. Where the client goes away before it is through, the call is cancelled."""

    def __init__(self, engine: Engine, ticket: Ticket, form: Form, stream: bool) -> None:
        super().__init__()
        self._engine, self._ticket, self._form, self._stream = engine, ticket, form, stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await while_there(self._send(scope, receive, send), receive)
        finally:
            self._engine.cancel(self._ticket)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            prompts = await self._ticket.accepted()
            said = None if self._stream else await self._whole(prompts)
        except Failure as failure:
            said, prompts = refusal(failure), []
        if said is None:
            await self._events(prompts, send)
        else:
            await said(scope, receive, send)

    async def _whole(self, prompts: list[int]) -> JSONResponse:
        pieces: list[list[Piece]] = [[] for _ in range(self._ticket.asked.count)]
        async for piece in self._ticket.pieces():
            pieces[piece.index].append(piece)
        return JSONResponse(self._form.whole([joined(each) for each in pieces], prompts))

    async def _events(self, prompts: list[int], send: Send) -> None:
        form, tallies = self._form, []

        async def tell(said: Mapping[str, Any] | None) -> None:
            if said is not None:
                await send({"type": "http.response.body", "body": event(said), "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})
        try:
            for index in range(self._ticket.asked.count):
                await tell(form.opening(index))
            async for piece in self._ticket.pieces():
                await tell(form.chunk(piece))
                tallies += [] if piece.tally is None else [piece.tally]
            await tell(form.last(prompts, tallies))
            end = DONE
        except Failure as failure:  # the status is sent already: an event must say it
            await tell(failure.body())
            end = b""
        await send({"type": "http.response.body", "body": end})


def refusal(failure: Failure) -> JSONResponse:
    """In place of an answer."""
    return JSONResponse(failure.body(), failure.status, failure.headers())


async def while_there(sending: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Send, until it is done or the client has gone."""
    work = asyncio.create_task(sending)
    gone = asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)


def event(said: Mapping[str, Any]) -> bytes:
    """As a server-sent event."""
    text = json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
