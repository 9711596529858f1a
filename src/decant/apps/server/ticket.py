"""A call on its way: the client's side waits for what the engine's thread puts in."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import final

from decant.apps.server.asking import Asked
from decant.apps.server.errors import Failure
from decant.apps.server.sample import Piece

Accepted = list[int]
"""Tokens of each prompt: the call was understood, and stands in line."""
Event = Accepted | Piece | Failure


@final
class Ticket:
    """Made, and read, where the event loop runs; the engine puts in by `deliver`.

    born: when, in seconds of `time.perf_counter`. gone: nobody reads any longer.
    """

    def __init__(self, asked: Asked) -> None:
        self.asked, self.born, self.gone = asked, time.perf_counter(), False
        self.loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def put(self, event: Event) -> None:
        """In the event loop's own thread."""
        self._events.put_nowait(event)

    async def accepted(self) -> Accepted:
        """Wait until the call is in line. Raises Failure where it was refused."""
        event = await self._next()
        assert isinstance(event, list), "the engine accepts before it says anything"
        return event

    async def pieces(self) -> AsyncIterator[Piece]:
        """All pieces, until every text has ended. Raises Failure."""
        left = self.asked.count
        while left:
            event = await self._next()
            assert isinstance(event, Piece), "the engine accepts once"
            left -= event.tally is not None
            yield event

    async def _next(self) -> Event:
        event = await self._events.get()
        if isinstance(event, Failure):
            raise event
        return event


def deliver(events: Iterable[tuple[Ticket, Event]]) -> None:
    """To each event loop what is its own; one that is closed has no readers."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Ticket, Event]]] = {}
    for ticket, event in events:
        by_loop.setdefault(ticket.loop, []).append((ticket, event))
    for loop, own in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put, own)
        except RuntimeError:
            for ticket, _ in own:
                ticket.gone = True


def _put(events: list[tuple[Ticket, Event]]) -> None:
    for ticket, event in events:
        ticket.put(event)
