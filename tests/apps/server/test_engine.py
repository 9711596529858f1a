"""The engine's thread: what is let in, what is cancelled, what fails alone."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import httpx
import pytest

import decant
from decant.apps.opening import Opening
from decant.apps.prompts import text_prompt
from decant.apps.sampling import Sampling
from decant.apps.server import cranks
from decant.apps.server.asking import Asked
from decant.apps.server.bounds import Bounds
from decant.apps.server.errors import Failure
from decant.apps.session import Limits, open_session
from decant.errors import BadInput
from tests.apps.server.conftest import MODEL, MOST, behind_a_port, until


def asked(tokens: int = 4, **how) -> Asked:
    sampling = Sampling(temperature=how.pop("temperature", 1.0), top_k=how.pop("top_k", None))
    prompt = how.pop("prompt", "Take 1, then add 2.")
    return Asked((text_prompt(prompt, "the prompt"),), sampling, Limits(tokens), seed=how.pop("seed", 0), **how)


async def texts(engine, *calls: Asked) -> list[str]:
    """Of calls at once; what failed says why."""

    async def one(call: Asked) -> str:
        try:
            ticket = engine.submit(call)
            await ticket.accepted()
            return "".join([piece.text async for piece in ticket.pieces()])
        except Failure as failure:
            return f"{failure.status} {failure.code}"

    return list(await asyncio.gather(*map(one, calls)))


def test_equal_settings_share_a_crank_and_others_do_not(serving):
    engine = serving().engine
    calls = [
        asked(seed=1),
        asked(seed=2, tokens=3),
        asked(top_k=5),
        asked(top_k=0),
        asked(plain=True),
        asked(logprobs=1),
    ]
    asyncio.run(texts(engine, *calls))
    assert len(engine._cranks) == 4


def test_cranks_that_nobody_uses_are_let_go(serving, monkeypatch):
    engine = serving().engine
    monkeypatch.setattr(cranks, "IDLE", 2)
    asyncio.run(texts(engine, *[asked(1, top_k=k) for k in range(1, 6)]))
    assert until(lambda: len(engine._cranks) == 3)
    monkeypatch.setattr(cranks, "IDLE_SECONDS", -1.0)
    asyncio.run(texts(engine, asked(1, top_k=1)))
    assert until(lambda: len(engine._cranks) == 1)


def test_no_more_run_than_may(serving):
    engine = serving(Bounds(batch=3, queue=50)).engine
    most: list[int] = []
    turn = engine._turn
    engine._turn = lambda crank, alone: (
        most.append(sum(len(one.turning.running) for one in engine._cranks.busy())),
        turn(crank, alone),
    )
    said = asyncio.run(texts(engine, *[asked(4, top_k=k, seed=k, n=2) for k in (3, 4, 5)]))
    assert all(said)
    assert max(most) == 3
    assert engine.open == 0


def test_a_full_line_is_refused_and_says_when_to_come_again(serving):
    engine = serving(Bounds(batch=1, queue=2)).engine
    said = asyncio.run(texts(engine, *[asked(12, seed=seed) for seed in range(6)]))
    assert said.count("429 queue_full") == 3
    assert asyncio.run(texts(engine, asked())) != ["429 queue_full"]


def test_429_has_the_header(serving):
    with behind_a_port(serving(Bounds(batch=1, queue=0))) as live:
        body = {"model": MODEL, "prompt": "Take 1", "max_tokens": MOST}
        with httpx.stream("POST", f"{live.url}/v1/completions", json=body | {"stream": True}) as first:
            assert first.status_code == 200
            second = httpx.post(f"{live.url}/v1/completions", json=body)
        assert (second.status_code, second.json()["error"]["type"]) == (429, "rate_limit_error")
        assert 1 <= int(second.headers["retry-after"]) <= 60


def test_cache_bounds_who_runs(serving, session):
    need = session.method.decoder.cache_bytes([40]) / 2**20
    engine = serving(Bounds(batch=8, queue=50, cache_mb=1.5 * need)).engine
    most: list[float] = []
    admit = engine._admit
    engine._admit = lambda: (admit(), most.append(engine._cranks.bytes() / 2**20))
    said = asyncio.run(texts(engine, *[asked(8, top_k=k) for k in (0, 3, 5)], asked(MOST)))
    assert said[-1] == "400 invalid_value", "it would not fit even alone"
    assert not any(one.startswith("400") for one in said[:-1])
    assert max(most) == need, "one at a time"


def test_time_is_limited(serving):
    engine = serving(Bounds(batch=1, queue=4, timeout=0.6)).engine

    async def two() -> list:
        first, second = engine.submit(asked(MOST)), engine.submit(asked(MOST))
        await first.accepted()
        pieces = [piece async for piece in first.pieces()]
        return [pieces, (await texts(engine))[:0], second]

    pieces, _, _ = asyncio.run(two())
    tally = pieces[-1].tally
    assert (tally.reason, tally.timed_out) == ("length", True)
    assert 0 < tally.tokens < MOST
    assert until(lambda: engine.open == 0)


def test_who_never_had_a_turn_in_time_is_told(serving):
    engine = serving(Bounds(batch=1, queue=4, timeout=0.6)).engine
    said = asyncio.run(texts(engine, *[asked(MOST)] * 5))
    # One may have a turn in the instant between the end of the first one's time and that of its own.
    assert "503 timeout" in said[1:]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_cache(service, live, stream):
    body = {"model": MODEL, "prompt": "Take 1", "max_tokens": MOST, "n": 2, "stream": stream, "temperature": 0}
    ended = service.engine.metrics.calls._value.get()
    with suppress(httpx.ReadTimeout), httpx.Client(timeout=0.5) as client:
        if stream:
            with client.stream("POST", f"{live.url}/v1/completions", json=body) as reply:
                next(reply.iter_lines())
                assert live.engine.open == 2
        else:
            client.post(f"{live.url}/v1/completions", json=body)
    assert until(lambda: live.engine.open == 0)
    assert until(lambda: live.engine._cranks.bytes() == 0)
    assert not live.engine._works
    assert not live.engine._owner
    assert all(crank.turning._state is None for crank in live.engine._cranks._all.values())
    assert service.engine.metrics.calls._value.get() == ended, "none of them had come to its end"


def test_a_step_that_breaks_fails_its_own_calls_alone(serving, monkeypatch):
    engine = serving().engine

    async def both() -> list[str]:
        broken = engine.submit(asked(8, top_k=3))
        await broken.accepted()
        crank = engine._works[broken].crank
        monkeypatch.setattr(crank, "step", lambda: 1 / 0)
        with pytest.raises(Failure) as caught:
            _ = [piece async for piece in broken.pieces()]
        return [str(caught.value), *(await texts(engine, asked(8), asked(8, top_k=3)))]

    alone = asyncio.run(texts(engine, asked(8), asked(8, top_k=3)))
    said = asyncio.run(both())
    assert "unexpected ZeroDivisionError" in said[0]
    assert said[1:] == alone
    assert engine.open == 0


def test_an_engine_that_stumbles_gets_up(serving, monkeypatch):
    engine = serving().engine
    alone = asyncio.run(texts(engine, asked()))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_admit", lambda: 1 / 0)
        assert asyncio.run(texts(engine, asked())) == ["500 internal_error"]
    assert asyncio.run(texts(engine, asked())) == alone


def test_draining_takes_no_more_and_failing_ends_the_rest(serving):
    engine = serving().engine

    async def story() -> list[str]:
        running = engine.submit(asked(MOST))
        await running.accepted()
        engine.drain()
        late = await texts(engine, asked())
        engine.fail()
        with pytest.raises(Failure) as caught:
            _ = [piece async for piece in running.pieces()]
        return [*late, f"{caught.value.status} {caught.value.code}"]

    assert asyncio.run(story()) == ["503 stopping", "503 stopping"]
    assert engine.open == 0
    engine.stop()
    assert not engine.alive


def test_a_long_prompt_is_read_in_chunks_between_the_steps_of_others(serving):
    engine = serving().engine
    long = asked(2, top_k=4, prompt="Take 1, then add 2. " * 40)

    async def story() -> tuple[int, list[str]]:
        running = engine.submit(asked(300))
        await running.accepted()
        pieces = running.pieces()
        await anext(pieces)
        waiting = engine.submit(long)
        await waiting.accepted()
        crank = engine._works[waiting].crank
        asks: list[bool] = []
        ready = crank.ready
        crank.ready = lambda alone: (asks.append(ready(alone)), asks[-1])[1]
        said = "".join([piece.text async for piece in waiting.pieces()])
        engine.cancel(running)
        return asks.count(False), [said]

    held_back, said = asyncio.run(story())
    assert held_back >= 1
    assert said == asyncio.run(texts(engine, long))


def test_a_model_that_fills_in_masks_is_served_in_order(serving, filler):
    session = open_session(filler.exactly(True), None, Sampling(), Opening(), prefix_mb=16)
    engine = serving(session=session).engine
    calls = [asked(12, temperature=temperature, seed=seed) for temperature in (0.0, 1.0) for seed in (1, 2)]
    expected = [
        decant.generate(
            session.target, "Take 1, then add 2.", max_tokens=12, temperature=call.sampling.temperature, seed=call.seed
        ).text
        for call in calls
    ]
    assert asyncio.run(texts(engine, *calls)) == expected
    assert asyncio.run(texts(engine, asked(12, logprobs=1))) == ["400 invalid_value"]


@pytest.mark.parametrize(
    ("method", "verifier", "promise"),
    [
        ("token-recycling", None, "tokens"),
        ("draft-model", "rejection", "distribution"),
        ("draft-model", "lenience", None),
    ],
)
def test_what_is_promised_is_said(serving, exactly, draft, method, verifier, promise):
    session = open_session(exactly, draft, Sampling(), Opening(), method=method, verifier=verifier)
    engine = serving(session=session, verifier=verifier).engine

    async def promised(call: Asked) -> str | None:
        ticket = engine.submit(call)
        await ticket.accepted()
        return [piece async for piece in ticket.pieces()][-1].tally.promise

    assert asyncio.run(promised(asked())) == promise
    assert asyncio.run(promised(asked(plain=True))) == "tokens"
    assert asyncio.run(promised(asked(temperature=0.0))) == (promise and "tokens")
    plain = decant.generate(exactly, "Take 1, then add 2.", method="plain", max_tokens=8, temperature=1.0, seed=5).text
    if promise == "tokens":
        assert asyncio.run(texts(engine, *[asked(8, seed=seed) for seed in (5, 6)]))[0] == plain


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"batch": 0}, "batch is 1 or more, got 0"),
        ({"queue": -1}, "queue is 0"),
        ({"cache_mb": 0.0}, "cache_mb is more than 0, got 0"),
        ({"timeout": float("nan")}, "timeout is a number of seconds above 0, got nan"),
    ],
)
def test_bounds_that_leave_no_room(wrong, words):
    with pytest.raises(BadInput, match=words.replace("(", r"\(")):
        replace(Bounds(), **wrong)
