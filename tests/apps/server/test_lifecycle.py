"""`decant serve` as a process, and the OpenAPI description under fire."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import decant
from decant.apps.cli import app
from decant.apps.server.place import Place
from decant.errors import BadInput
from tests.apps.server.conftest import behind_a_port

PLACE = os.environ | {"PYTHONPATH": str(Path(decant.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 is reached from other machines"),
        (["--api-keys", "nowhere"], "--api-keys nowhere cannot be read"),
        (["--timeout", "-1"], "timeout is a number of seconds above 0, got -1"),
        (["--max-body-mb", "0"], "--max-body-mb is more than 0, got 0"),
        (["--method", "prompt-lokup"], "no method is called 'prompt-lokup'; did you mean prompt-lookup?"),
        (["--replicas", "2"], "--replicas goes with --ray: add --ray auto"),
        (["--ray", "auto", "--draft-store", "x"], "--draft-store is for one server: replicas learn apart"),
        (["--draft-store", "x", "--draft-store-mb", "0"], "a draft store has more than 0 MB, got 0"),
        (["--plan", "here", "--draft", "x"], "--plan says how to decode; leave out --draft, or --plan"),
    ],
)
def test_what_the_command_refuses(words, said):
    done = CliRunner().invoke(app, ["serve", "any/model", *words])
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_a_port_that_is_taken():
    with (
        Place(port=0).bound() as taken,
        pytest.raises(BadInput, match=r"cannot be listened at: .*0 for any that is free"),
    ):
        Place(port=taken.getsockname()[1]).bound()


@pytest.fixture
def running(folder, tmp_path):
    """The command, and where it listens."""
    where = tmp_path / "where.json"
    command = [sys.executable, "-m", "decant", "serve", str(folder), "--port", "0", "--json", str(where)]
    more = ["--dtype", "float32", "--threads", "1", "--grace", "30", "--max-tokens", "900"]
    more += ["--method", "token-recycling", "--draft-store", str(tmp_path / "kept")]
    process = subprocess.Popen([*command, *more], env=PLACE, stderr=subprocess.PIPE, text=True)
    while not (where.exists() and where.read_text().endswith("}\n")):
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)
    yield process, json.loads(where.read_text())["url"], str(folder)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_sigterm_lets_those_that_run_finish_and_takes_no_more(running):
    process, url, model = running
    body = {"model": model, "prompt": "Take 1", "max_tokens": 900, "temperature": 0}
    replies: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: replies.append(httpx.post(f"{url}/completions", json=body, timeout=120)))
    asking.start()
    while httpx.get(url.replace("/v1", "/health")).json()["open"] == 0:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    while httpx.get(url.replace("/v1", "/health")).status_code == 200:
        time.sleep(0.01)
    late = httpx.post(f"{url}/completions", json=body)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
    assert httpx.get(url.replace("/v1", "/health")).status_code == 503
    asking.join()
    assert replies[0].json()["usage"]["completion_tokens"] == 900
    assert process.wait(60) == 0


@pytest.mark.slow
def test_a_second_signal_ends_their_grace(running):
    process, url, model = running
    body = {"model": model, "prompt": "Take 1", "max_tokens": 900, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{url}/completions", json=body, timeout=120) as reply:
        lines = reply.iter_lines()
        next(lines)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = [line for line in lines if line]
    assert json.loads(said[-1].removeprefix("data: "))["error"]["code"] == "stopping"
    assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_learnt_is_kept_at_the_end(running, tmp_path, number):
    process, url, model = running
    (file,) = (tmp_path / "kept").iterdir()
    warm = len(load_file(file)["tokens"])
    body = {"model": model, "prompt": "Naïve café, 日本語.", "max_tokens": 9, "temperature": 0}
    assert httpx.post(f"{url}/completions", json=body, timeout=120).status_code == 200
    process.send_signal(number)
    assert process.wait(60) == 0
    assert len(load_file(file)["tokens"]) > warm


@pytest.mark.slow
def test_schemathesis_finds_no_fault_of_the_servers(serving):
    schemathesis = pytest.importorskip("schemathesis")
    del schemathesis
    with behind_a_port(serving()) as live:
        command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{live.url}/openapi.json"]
        checks = ["--checks", "not_a_server_error", "--max-examples", "40", "--seed", "1", "--request-timeout", "60"]
        done = subprocess.run([*command, *checks], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:]
        counted = live.engine.metrics.requests.collect()[0].samples
    codes = {sample.labels["code"] for sample in counted if sample.name.endswith("_total")}
    assert not any(code.startswith("5") for code in codes)
    assert {"200", "400"} <= codes, "it got through, and was refused"
