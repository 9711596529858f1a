"""Somebody else's engine and its twin, asked over HTTP: what `prove --engine` certifies."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, final
from urllib.parse import urlsplit

from decant.apps.prompts import Prompt
from decant.apps.repeating import mark
from decant.distill.server import Server
from decant.errors import BadInput
from decant.models.machine import machine
from decant.prove.engine import Terms, run
from decant.prove.engine.asking import Pair
from decant.prove.engine.served import Served, address

KEY: Final = "DECANT_ENGINE_KEY"
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
Progress = Callable[[int, int, str], None]


@final
@dataclass(frozen=True, slots=True)
class Engines:
    """engine, twin: addresses. model: their name for it; None: the first that each names. at_once: questions under way.

    trusted: whether the user typed the addresses himself; else a key goes to none but the loopback.
    """

    engine: str
    twin: str
    model: str | None
    source: str
    at_once: int = 8
    seed: int = 0
    trusted: bool = True


def opened(asked: Engines, prompts: list[Prompt]) -> Pair:
    """Both servers, found and willing. Raises BadInput."""
    conversations = any(prompt.text is None and not prompt.lenient for prompt in prompts)
    if conversations and any(prompt.text is not None for prompt in prompts):
        raise BadInput(f"{asked.source} mixes texts and conversations, which an engine is asked at two doors; split it")
    spoken: list[Any] = [
        list(prompt.messages) if conversations else prompt.text or prompt.messages[0]["content"] for prompt in prompts
    ]
    sides = [
        Served.found(_server(url, who, asked.trusted), asked.model, conversations)
        for url, who in ((asked.engine, "engine"), (asked.twin, "twin"))
    ]
    if sides[0].door != sides[1].door:
        raise BadInput(
            f"the engine answers at {sides[0].door} and its twin at {sides[1].door}; start the same server twice"
        )
    return Pair(sides[0], sides[1], spoken, asked.at_once, asked.seed)


def marks(pair: Pair) -> dict[str, str | None]:
    """Fingerprints of what is asked about."""
    names = [side.model for side in (pair.engine, pair.twin) if isinstance(side, Served)]
    return {"prompts": mark(list(pair.prompts)), "model": mark(names)}


def certify(
    asked: Engines,
    pair: Pair,
    terms: Terms,
    progress: Progress,
    partial: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """The certificate of an engine."""
    engine, twin = pair.engine, pair.twin
    assert isinstance(engine, Served)
    assert isinstance(twin, Served)
    facts = {
        "name": engine.model,
        "engine": engine.server.url,
        "twin": twin.server.url,
        "twin_model": twin.model,
        "endpoint": engine.door,
        "seeds_sent": engine.seeds and twin.seeds,
    }
    settings = {"source": asked.source, "at_once": asked.at_once}
    return run(pair, terms, facts, settings=settings, machine=machine(), progress=progress, partial=partial)


def _server(url: str, who: str, trusted: bool) -> Server:
    key = os.environ.get(KEY)
    if key and not trusted and urlsplit(url).hostname not in LOOPBACK:
        raise BadInput(
            f"{KEY} would be sent to {url}, which a file names and not you; type --engine and --twin again, or unset it"
        )
    return Server(address(url), key, timeout=120.0, tries=4, patience=0.5, who=who, again="then repeat the command")
