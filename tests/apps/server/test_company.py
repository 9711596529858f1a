"""What one call does to the others: a constraint that raises, a grammar or a prompt that takes its time."""

import asyncio
import threading
from dataclasses import replace

import pytest

from decant.apps.server import reading
from decant.apps.server.bounds import Bounds
from decant.apps.server.errors import Failure
from decant.constraints.grammar import Json
from decant.errors import BadInput
from tests.apps.server.conftest import MODEL, events, until
from tests.apps.server.test_engine import asked, texts
from tests.decoders.test_blamed import LIVES, Dying

DOOMED = "Zebras"
WORDS = {BadInput: (400, "invalid_value", Dying.WORDS), ZeroDivisionError: (500, "internal_error", "unexpected Zero")}


@pytest.fixture
def planted(monkeypatch, exactly):
    """Every call's constraint raises for a prompt that begins with a zebra."""

    def plant(at: str, kind: type[Exception]) -> None:
        choose, first = reading.choose, exactly.encode(DOOMED)[0]

        def chosen(*words, **how):
            return replace(choose(*words, **how), constraint=Dying(at, first, kind))

        monkeypatch.setattr(reading, "choose", chosen)

    return plant


@pytest.mark.parametrize("at", ["start", "forced", "adjust", "observe"])
@pytest.mark.parametrize("kind", [BadInput, ZeroDivisionError])
def test_a_constraint_that_raises_fails_its_own_call_alone(serving, planted, at, kind):
    calls = [asked(12, seed=1), asked(12, seed=2, prompt=DOOMED), asked(9, seed=3), asked(12, seed=4, prompt="x")]
    want = [asyncio.run(texts(serving().engine, call))[0] for call in calls]
    planted(at, kind)
    engine = serving().engine
    said = asyncio.run(texts(engine, *calls))
    assert said[1] == "{} {}".format(*WORDS[kind])
    assert [said[at] for at in (0, 2, 3)] == [want[at] for at in (0, 2, 3)]
    assert len(engine._cranks) == 1, "they shared a batch, and it went on"
    assert engine.open == 0
    assert until(lambda: engine._cranks.bytes() == 0)


@pytest.mark.parametrize("kind", [BadInput, ZeroDivisionError])
def test_whoever_is_at_fault_is_told(service, client, planted, kind):
    planted("observe", kind)
    body = {"model": MODEL, "prompt": DOOMED, "max_tokens": 12, "seed": 1, "top_k": 7 if kind is BadInput else 8}
    status, code, words = WORDS[kind]
    whole = client.post("/v1/completions", json=body)
    assert (whole.status_code, whole.json()["error"]["code"]) == (status, code)
    assert words in whole.json()["error"]["message"]
    *pieces, last = events(client.post("/v1/completions", json=body | {"stream": True}).text)
    assert 1 <= len(pieces) <= LIVES
    assert last["error"] == whole.json()["error"]


class Slow:
    """A function that waits where its words hold `word`, until it is let go."""

    def __init__(self, monkeypatch, name: str, word: str) -> None:
        self.reached, self.free, self.word = threading.Event(), threading.Event(), word
        self.own = getattr(reading, name)
        monkeypatch.setattr(reading, name, self)

    def __call__(self, *words):
        if self.word in repr(words[0]):
            self.reached.set()
            assert self.free.wait(60), "nobody let it go"
        return self.own(*words)


SLOW = {
    "bound": asked(9, constraint=Json({"enum": ["late"]})),
    "prompts_of": asked(4, prompt="A late text."),
}


async def read_late(engine, slow: Slow, late, meanwhile) -> tuple[list[str], str]:
    """What others say while a call is being read, then what that one says."""
    running = asyncio.create_task(texts(engine, asked(40, seed=3)))
    while not engine._works:
        await asyncio.sleep(0)
    waiting = asyncio.create_task(texts(engine, late))
    await asyncio.to_thread(slow.reached.wait, 60)
    said = [*await running, *await texts(engine, *meanwhile)]
    assert not waiting.done()
    slow.free.set()
    return said, (await waiting)[0]


@pytest.mark.parametrize("name", SLOW)
def test_others_go_on_while_a_call_is_read(serving, monkeypatch, name):
    engine = serving().engine
    meanwhile = [asked(8, seed=5), asked(8, seed=6)] if name == "bound" else []
    calls = [asked(40, seed=3), *meanwhile, SLOW[name]]
    want = [asyncio.run(texts(engine, call))[0] for call in calls]
    engine = serving().engine
    said, late = asyncio.run(read_late(engine, Slow(monkeypatch, name, "late"), SLOW[name], meanwhile))
    assert [*said, late] == want
    assert engine.open == 0


@pytest.mark.parametrize("name", SLOW)
def test_whose_reading_takes_too_long_is_told_in_time(serving, monkeypatch, name):
    engine, slow = serving(Bounds(batch=1, queue=4, timeout=0.3)).engine, Slow(monkeypatch, name, "late")
    assert asyncio.run(texts(engine, SLOW[name])) == ["503 timeout"]
    assert engine.open == 1, "its memory is not free yet: it counts"
    slow.free.set()
    assert until(lambda: engine.open == 0)


def test_who_goes_away_is_not_read(serving, monkeypatch):
    engine, slow = serving().engine, Slow(monkeypatch, "prompts_of", "late")

    async def story() -> None:
        tickets = [engine.submit(SLOW["prompts_of"]) for _ in range(3)]
        await asyncio.to_thread(slow.reached.wait, 60)
        for ticket in tickets:
            engine.cancel(ticket)
            with pytest.raises(Failure, match="the client has gone"):
                await ticket.accepted()
        slow.reached.clear()
        slow.free.set()
        assert await texts(engine, asked(4)) == await texts(engine, asked(4))

    asyncio.run(story())
    assert not slow.reached.is_set(), "the others were left out"
    assert until(lambda: engine.open == 0)


def test_an_engine_ends_while_a_call_is_read(serving, monkeypatch):
    engine, slow = serving().engine, Slow(monkeypatch, "bound", "late")

    async def story() -> None:
        ticket = engine.submit(SLOW["bound"])
        await asyncio.to_thread(slow.reached.wait, 60)
        await asyncio.to_thread(engine.stop)
        with pytest.raises(Failure, match="the server is stopping"):
            await ticket.accepted()

    asyncio.run(story())
    slow.free.set()
    assert (engine.open, engine.alive) == (0, False)


def test_a_grammar_is_compiled_once(serving, monkeypatch):
    engine, compiled = serving().engine, []
    own = reading.bound
    monkeypatch.setattr(reading, "bound", lambda description, target: (compiled.append(1), own(description, target))[1])
    again = asked(9, top_k=5, constraint=Json({"enum": ["late"]}))
    assert asyncio.run(texts(engine, SLOW["bound"], again, SLOW["bound"])) == ['"late"'] * 3
    assert len(compiled) == 1
    monkeypatch.setattr(reading, "KEPT", 1)
    asyncio.run(texts(engine, asked(4, constraint=Json({"enum": ["x"]})), again))
    assert len(compiled) == 3
