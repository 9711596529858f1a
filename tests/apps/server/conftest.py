"""One server over the tiny pair, in exact mode, for every test that only asks it; and one behind a real port."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.server.asking import Served
from decant.apps.server.bounds import Bounds
from decant.apps.server.composing import Composer
from decant.apps.server.engine import Engine
from decant.apps.server.lifecycle import Service
from decant.apps.server.place import Place
from decant.apps.session import Session, open_session
from decant.models.loaded import Loaded

MODEL = "org/tiny"
MOST = 900  # new tokens of a text, at most
SCHEMA = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "count": {"enum": [1, 2]}},
    "required": ["sure", "count"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class Live:
    """A server behind a port."""

    url: str
    engine: Engine


@pytest.fixture(scope="session")
def exactly(target: Loaded) -> Loaded:
    return target.exactly(True)


@pytest.fixture(scope="session")
def session(exactly: Loaded, draft: Loaded) -> Session:
    return open_session(exactly, draft, Sampling(), Opening(), method="draft-model", prefix_mb=16)


@pytest.fixture(scope="session")
def serving(session: Session) -> Iterator[Callable[..., Any]]:
    """Another server over the same models; ended behind all tests."""
    made: list[Service] = []

    def start(
        bounds: Bounds | None = None,
        place: Place | None = None,
        session: Session = session,
        verifier: str | None = None,
    ) -> Service:
        served = Served(MODEL, session.method.name, MOST)
        composer = Composer(session, verifier)
        service = Service.of(composer, served, bounds or Bounds(batch=8, queue=64), place or Place())
        service.engine.start()
        made.append(service)
        return service

    yield start
    for service in made:
        service.engine.stop()


@pytest.fixture(scope="session")
def service(serving) -> Service:
    return serving()


@pytest.fixture(scope="session")
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(service.app, base_url="http://127.0.0.1") as found:  # pyright: ignore[reportArgumentType]
        yield found


@pytest.fixture(scope="session")
def ask(client: TestClient) -> Callable[..., Any]:
    """POST to an endpoint; `prompt` completes, `messages` chats."""

    def post(**body: Any) -> Any:
        path = "/v1/chat/completions" if "messages" in body else "/v1/completions"
        return client.post(path, json={"model": MODEL, **body})

    return post


@contextmanager
def behind_a_port(service: Service) -> Iterator[Live]:
    """The server in a thread of its own, with an event loop of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(service.app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield Live(f"http://127.0.0.1:{listening.getsockname()[1]}", service.engine)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def live(service: Service) -> Iterator[Live]:
    with behind_a_port(service) as found:
        yield found


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait for another thread."""
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    return holds()


def events(text: str) -> list[SimpleNamespace]:
    """Server-sent events, taken apart; the last is None for [DONE]."""
    import json

    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    return [None if line == "[DONE]" else json.loads(line) for line in lines]
