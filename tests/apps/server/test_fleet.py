"""The front of many replicas, held against one server; replicas live in this process, and die when they are told."""

import asyncio
import sys
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient

from decant.apps.opening import Opening
from decant.apps.server.asking import Served
from decant.apps.server.bounds import Bounds
from decant.apps.server.fleet import Crew, Fleet, Hands, hired
from decant.apps.server.gathered import Count, page
from decant.apps.server.lifecycle import gated
from decant.apps.server.metrics import Metrics
from decant.apps.server.place import Place
from decant.apps.server.recipe import Recipe
from decant.apps.server.replica import Replica
from decant.apps.server.routes import Desk
from decant.errors import BadInput, MissingExtra
from tests.apps.server.conftest import MODEL, MOST, events, until

ASKED = {"model": MODEL, "prompt": "Take 1, then add 2.", "max_tokens": 12, "temperature": 1.0, "seed": 3}


class Lost(Exception):
    """A replica is gone."""


class Reply:
    """Ray Serve's stream of one call. lives: items until the replica is gone; None: all."""

    def __init__(self, pieces, lives, log):
        self.pieces, self.lives, self.log = pieces, lives, log

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.lives == 0:
            await self.pieces.aclose()
            raise Lost
        self.lives = None if self.lives is None else self.lives - 1
        return await anext(self.pieces)

    def cancel(self):
        self.log.append("cancelled")
        asyncio.get_running_loop().create_task(self.pieces.aclose())


class Handle:
    """Ray Serve's handle. lives: of the replica that gets the next call, the one behind it, and so on."""

    def __init__(self, replica):
        self.replica, self.lives, self.keys, self.log = replica, [], [], []

    def options(self, session_id, **named):
        self.keys.append(session_id)
        return self

    def remote(self, call):
        lives = self.lives.pop(0) if self.lives else None
        return Reply(self.replica.answer(call), lives, self.log)


@pytest.fixture
def front(service):
    """A fleet over the engine of all tests, and a client."""
    served = Served(MODEL, "draft-model", MOST)
    replica = object.__new__(Replica)
    replica.name, replica.engine, replica.desk = "one", service.engine, Desk.of(service.engine, served)
    recipe = Recipe(MODEL, Opening(), Bounds(batch=2, queue=1, timeout=5))
    fleet = Fleet(Hands("app", Handle(replica), (Lost,)), served, recipe, 2)
    with TestClient(gated(fleet, fleet.metrics, Place()), base_url="http://127.0.0.1") as client:
        yield fleet, client


def post(front, **more):
    return front[1].post("/v1/completions", json=ASKED | more)


def test_an_answer_is_the_one_of_a_single_server(front, ask):
    reply = post(front, logprobs=2)
    alone = ask(**ASKED, logprobs=2).json()
    assert reply.json()["choices"] == alone["choices"]
    assert reply.headers["x-decant-replica"] == "one"
    streamed = [events(one.text)[:-1] for one in (post(front, stream=True), ask(**ASKED, stream=True))]
    said, expected = ["".join(chunk["choices"][0]["text"] for chunk in one) for one in streamed]
    assert said == expected == alone["choices"][0]["text"]
    assert front[0].open == 0


def test_refusals_pass_too(front):
    assert post(front, temperature=-1).json()["error"]["param"] == "temperature"
    assert post(front, model="other").json()["error"]["code"] == "model_not_found"
    assert not front[0].hands.door.keys[1:], "what the front can refuse reaches no replica"
    assert front[1].get("/v1/models").json()["data"][0]["id"] == MODEL


def test_calls_that_begin_alike_have_one_key(front):
    for prompt in ("x" * 600 + "a", "x" * 600 + "b", "y" * 600):
        post(front, prompt=prompt, max_tokens=1)
    first, second, third = front[0].hands.door.keys
    assert first == second != third


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("lives", [0, 1])
def test_a_call_of_which_nothing_was_sent_is_put_to_another(front, ask, lives, stream):
    front[0].hands.door.lives = [lives]
    reply = post(front, stream=stream)
    assert reply.status_code == 200
    alone = ask(**ASKED).json()["choices"]
    if stream:
        chunks = events(reply.text)[:-1]
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == alone[0]["text"]
    else:
        assert reply.json()["choices"] == alone
    assert len(front[0].hands.door.keys) == 2


def test_without_a_seed_both_replicas_would_say_the_same(front):
    calls, handle = [], front[0].hands.door
    remote, handle.lives = handle.remote, [1]
    handle.remote = lambda call: (calls.append(call), remote(call))[1]
    told = post(front, seed=None).json()["decant"]["seed"]
    assert [call.asked.seed for call in calls] == [told, told]


def test_a_stream_that_has_begun_ends_with_an_event(front):
    front[0].hands.door.lives = [2]
    *chunks, last = events(post(front, stream=True, max_tokens=200).text)
    assert last["error"]["code"] == "replica_lost"
    assert chunks
    assert not any(chunk["choices"][0]["finish_reason"] for chunk in chunks)
    assert len(front[0].hands.door.keys) == 1


def test_two_deaths_are_a_503(front):
    front[0].hands.door.lives = [0, 1]
    reply = post(front)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "replica_lost")
    assert reply.headers["retry-after"] == "1"
    assert front[0].open == 0


def test_where_no_replica_has_room_a_call_ends_in_time(front):
    fleet = front[0]
    fleet.recipe = replace(fleet.recipe, bounds=Bounds(batch=2, queue=1, timeout=0.2))

    class Never:
        async def __anext__(self):
            await asyncio.Event().wait()

        def cancel(self):
            fleet.hands.door.log.append("cancelled")

    fleet.hands.door.remote = lambda call: Never()
    reply = post(front)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "timeout")
    assert fleet.hands.door.log == ["cancelled"]
    fleet.ended = True
    assert post(front).json()["error"]["code"] == "stopping"


def test_a_full_line_is_a_429(front):
    fleet = front[0]
    fleet.open = 4  # of 2 replicas with 2 each, and 1 in line
    assert post(front).status_code == 200
    assert post(front, n=2).status_code == 429
    fleet.open = 5
    reply = post(front)
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "queue_full")
    assert int(reply.headers["retry-after"]) >= 1
    fleet.open = 0
    assert post(front, n=4).json()["error"]["param"] == "n", "more than one replica ever holds"
    fleet.drain()
    assert post(front).json()["error"]["code"] == "stopping"


def test_who_goes_away_is_cancelled(front, service):
    """By ASGI itself: the test client does not go."""
    fleet = front[0]
    body = b'{"model": "org/tiny", "prompt": "Take 1", "max_tokens": 900, "stream": true}'
    sent = []

    async def call():
        left = asyncio.Event()

        async def receive():
            if not sent:
                sent.append(None)
                return {"type": "http.request", "body": body}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)
            left.set()

        headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, "query_string": b""}
        await gated(fleet, Metrics(), Place())(scope, receive, send)
        await asyncio.sleep(0.05)

    asyncio.run(call())
    assert fleet.hands.door.log == ["cancelled"]
    assert fleet.open == 0
    assert until(lambda: service.engine.open == 0), "its cache is freed"


def test_a_page_of_all_counts():
    front, mine = Metrics(), Metrics()
    front.requests.labels("/health", "200").inc()
    mine.tokens.inc(7)
    where = {"node": "here", "pid": "12"}
    lines = page(front.text(), [Count(name, where, mine.text()) for name in "ab"]).decode().splitlines()
    assert 'decant_requests_total{code="200",path="/health"} 1.0' in lines
    assert 'decant_replica_info{node="here",pid="12",replica="a"} 1.0' in lines
    assert [line for line in lines if line.startswith("decant_generated_tokens_total")] == [
        f'decant_generated_tokens_total{{replica="{name}"}} 7.0' for name in "ab"
    ]
    assert len({line for line in lines if line.startswith("# TYPE")}) == sum(
        line.startswith("# TYPE") for line in lines
    )


@pytest.mark.parametrize(
    ("nodes", "crew", "each"),
    [
        ([{"CPU": 8}], Crew(replicas=2), {"num_cpus": 4, "num_gpus": 0}),
        ([{"CPU": 8}], Crew(replicas=2, threads=3), {"num_cpus": 3, "num_gpus": 0}),
        ([{"CPU": 4, "GPU": 1}, {"CPU": 4, "GPU": 1}], Crew(replicas=2), {"num_cpus": 4, "num_gpus": 1}),
        ([{"CPU": 4, "GPU": 1}], Crew(replicas=2, gpu=False), {"num_cpus": 2, "num_gpus": 0}),
        ([{"CPU": 4}, {}], Crew(replicas=4), {"num_cpus": 1, "num_gpus": 0}),
    ],
)
def test_what_each_replica_gets(nodes, crew, each):
    assert crew.resources(nodes) == each


@pytest.mark.parametrize(
    ("nodes", "crew"),
    [
        ([{"CPU": 2}], Crew(replicas=3)),
        ([{"CPU": 4}, {"CPU": 4}], Crew(replicas=2, threads=5)),
        ([{"CPU": 8, "GPU": 1}], Crew(replicas=2)),
    ],
)
def test_a_cluster_that_is_too_small(nodes, crew):
    with pytest.raises(BadInput, match=r"find no place on a cluster of .* give fewer replicas"):
        crew.resources(nodes)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'decant\[ray,serve\]'"):
        hired(Recipe(MODEL, Opening(), Bounds()), Crew(), print)


def test_paths_hold_in_another_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    recipe = Recipe("model", Opening(), Bounds(), draft="house:draft").abroad()
    assert (recipe.served, recipe.model, recipe.draft) == ("model", str(tmp_path / "model"), "house:draft")
