"""`decant serve --ray` with two replicas, one of which is killed under load."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

import decant
from tests.apps.server.conftest import events, until
from tests.apps.server.test_lifecycle import PLACE

pytestmark = pytest.mark.slow
CALLS = 6
MOST = 300  # new tokens of a call that is to last
HEADS = [f"{number} " * 300 for number in range(6)]


@dataclass(frozen=True)
class Running:
    """The command."""

    process: subprocess.Popen
    url: str
    model: str
    ends: tuple[int, ...]

    def lasting(self) -> dict:
        """Settings of a call that lasts."""
        return {"max_tokens": MOST, "logit_bias": {str(token): -100.0 for token in self.ends}}

    def ask(self, prompt: str, **more) -> httpx.Response:
        body = {"model": self.model, "prompt": prompt, "max_tokens": 4, "temperature": 1.0, "seed": 3}
        return httpx.post(f"{self.url}/completions", json=body | more, timeout=300)

    def root(self, path: str) -> httpx.Response:
        return httpx.get(self.url.replace("/v1", path), timeout=60)

    def replicas(self) -> dict[str, int]:
        """Names and processes of those that answer."""
        found = re.findall(
            r'decant_replica_info{node="[^"]*",pid="(\d+)",replica="([^"]*)"}', self.root("/metrics").text
        )
        return {name: int(pid) for pid, name in found}


@pytest.fixture(scope="module")
def running(folder, target, tmp_path_factory):
    pytest.importorskip("ray.serve.experimental.consistent_hash_router", reason="the extra [ray] is not installed")
    if (os.cpu_count() or 1) < 2:
        pytest.skip("two replicas need two CPUs")
    where = tmp_path_factory.mktemp("ray") / "where.json"
    command = [sys.executable, "-m", "decant", "serve", str(folder), "--port", "0", "--json", str(where)]
    more = ["--dtype", "float32", "--threads", "1", "--grace", "120", "--ray", "auto", "--replicas", "2"]
    place = {name: value for name, value in PLACE.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen([*command, *more], env=place, stderr=subprocess.PIPE, text=True)
    while not (where.exists() and where.read_text().endswith("}\n")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    found = Running(process, json.loads(where.read_text())["url"], str(folder), tuple(target.ends))
    assert until(lambda: found.root("/health").json()["replicas"] == 2, 300)
    yield found
    process.terminate()
    try:
        process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def streamed(running, prompt: str) -> tuple[str, list]:
    """Who answered, and what."""
    reply = running.ask(prompt, stream=True, **running.lasting())
    return reply.headers["x-decant-replica"], events(reply.text)


def text(chunks) -> str:
    return "".join(chunk["choices"][0]["text"] for chunk in chunks if chunk and chunk.get("choices"))


def test_prompts_that_begin_alike_stay_together(running):
    homes = [{running.ask(head + end).headers["x-decant-replica"] for end in "abc"} for head in HEADS]
    assert all(len(home) == 1 for home in homes)
    assert running.replicas().keys() >= set.union(*homes)


def test_whoever_answers_says_what_generate_says(running):
    asked = {"max_tokens": 12, "temperature": 1.0, "seed": 3}
    prompts = [f"Take {number}" for number in range(8)]
    replies = [running.ask(prompt, **asked) for prompt in prompts]
    assert len({reply.headers["x-decant-replica"] for reply in replies}) == 2
    for prompt, reply in zip(prompts, replies, strict=True):
        expected = decant.generate(running.model, prompt, dtype="float32", exact="on", **asked)
        assert reply.json()["choices"][0]["text"] == expected.text


def test_one_that_dies_takes_nobody_along(running):
    prompts = [f"Take {number}" for number in range(CALLS)]
    expected = [running.ask(prompt, **running.lasting()).json()["choices"][0]["text"] for prompt in prompts]
    home = {prompt: running.ask(prompt).headers["x-decant-replica"] for prompt in prompts}
    victim = home[prompts[0]]
    assert set(home.values()) == {victim, *running.replicas()}, "both have work"
    with ThreadPoolExecutor(2 * CALLS) as pool:
        streams = [pool.submit(streamed, running, prompt) for prompt in prompts]
        wholes = [pool.submit(running.ask, prompt, **running.lasting()) for prompt in prompts]
        assert until(lambda: running.root("/health").json()["open"] == 2 * CALLS, 60)
        assert until(lambda: sum(count(running, "decant_running").values()) == 2 * CALLS, 60)
        os.kill(running.replicas()[victim], signal.SIGKILL)
        streams, wholes = [one.result() for one in streams], [one.result() for one in wholes]
    survivor = next(iter(set(home.values()) - {victim}))
    assert [reply.status_code for reply in wholes] == [200] * CALLS
    assert [reply.json()["choices"][0]["text"] for reply in wholes] == expected
    assert {reply.headers["x-decant-replica"] for reply in wholes} == {survivor}
    for prompt, (name, chunks), whole in zip(prompts, streams, expected, strict=True):
        assert name == home[prompt]
        if name == survivor:
            assert chunks[-1] is None
            assert text(chunks) == whole
        else:
            assert chunks[-1]["error"]["code"] == "replica_lost"
            assert whole.startswith(text(chunks))
    assert until(lambda: running.root("/health").json()["replicas"] == 2, 300), "it is replaced"
    assert victim not in running.replicas()
    assert running.ask(prompts[0], **running.lasting()).json()["choices"][0]["text"] == expected[0]


def count(running, name: str) -> dict[str, float]:
    """By replica."""
    found = re.findall(rf'^{name}{{replica="([^"]*)"}} (\S+)', running.root("/metrics").text, re.MULTILINE)
    return {replica: float(value) for replica, value in found}


def test_sigterm_lets_those_that_run_finish(running):
    """The last of these: nobody answers behind it."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(running.ask, "Take 1", **running.lasting())
        assert until(lambda: running.root("/health").json()["open"] == 1)
        running.process.send_signal(signal.SIGTERM)
        assert until(lambda: running.root("/health").status_code == 503)
        assert running.ask("Take 2").json()["error"]["code"] == "stopping"
        assert asked.result().json()["usage"]["completion_tokens"] == MOST
    assert running.process.wait(120) == 0
