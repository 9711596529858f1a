"""Who may ask, and how much."""

import re
import socket
from dataclasses import replace

import httpx
import pytest
from fastapi.testclient import TestClient

from decant.apps.server import gate, routes
from decant.apps.server.keys import Keys, loopback
from decant.apps.server.place import Place
from decant.errors import BadInput
from tests.apps.server.conftest import MODEL, behind_a_port

BODY = {"model": MODEL, "prompt": "Take 1", "max_tokens": 1}


@pytest.fixture(scope="module")
def guarded(serving, tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("# those who may ask\nfirst-key\n\n  second-key \n")
    place = Place("0.0.0.0", keys=Keys.read(file), most=2000)
    return TestClient(serving(place=place).app, base_url="http://example.org")


@pytest.mark.parametrize("key", ["Bearer first-key", "bearer second-key"])
def test_each_key_opens(guarded, key):
    assert guarded.post("/v1/completions", json=BODY, headers={"authorization": key}).status_code == 200
    assert guarded.get("/metrics", headers={"authorization": key}).status_code == 200


@pytest.mark.parametrize("key", [None, "first-key", "Basic first-key", "Bearer", "Bearer first", "Bearer # those who"])
def test_nothing_else_does(guarded, key):
    headers = {} if key is None else {"authorization": key}
    for reply in (
        guarded.post("/v1/completions", json=BODY, headers=headers),
        guarded.get("/v1/models", headers=headers),
        guarded.get("/metrics", headers=headers),
    ):
        assert (reply.status_code, reply.json()["error"]["code"]) == (401, "invalid_api_key")
        assert reply.headers["www-authenticate"] == "Bearer"
    assert guarded.get("/health", headers=headers).status_code == 200


def test_without_keys_any_key_passes(client):
    assert client.get("/v1/models", headers={"authorization": "Bearer whatever"}).status_code == 200


def test_without_keys_only_this_machine_may_ask():
    for host in ("127.0.0.1", "localhost", "::1", "127.8.8.8"):
        assert loopback(host)
        Place(host)
    for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"):
        with pytest.raises(BadInput, match=f"--host {host} is reached from other machines.*--api-keys FILE"):
            Place(host)
        Place(host, keys=Keys((b"digest",)))


def test_a_page_whose_name_leads_here_is_kept_out(service):
    strange = TestClient(service.app, base_url="http://evil.example:8000")
    reply = strange.get("/v1/models")
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_host")
    for name in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert TestClient(service.app, base_url=f"http://{name}").get("/v1/models").status_code == 200


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large(guarded, declared):
    content = b'{"model": "' + b"x" * 3000 + b'"}'
    body = content if declared else iter([content[:1000], content[1000:]])
    headers = {"authorization": "Bearer first-key", "content-type": "application/json"}
    reply = guarded.post("/v1/completions", content=body, headers=headers)
    assert (reply.status_code, reply.json()["error"]["code"]) == (413, "request_too_large")
    assert "2,000 bytes" in reply.json()["error"]["message"]


def test_a_body_that_never_ends_is_not_waited_for(service):
    """The connection is closed, so that others find room; answers take as long as they take."""
    hasty = replace(service, app=replace(service.app, patience=0.2))
    with behind_a_port(hasty) as live, socket.create_connection(("127.0.0.1", int(live.url.rpartition(":")[2]))) as to:
        head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        to.sendall(f"{head}Content-Length: 99\r\n\r\n{{".encode())
        to.settimeout(60)
        said = b"".join(iter(lambda: to.recv(65536), b""))
        assert said.startswith(b"HTTP/1.1 408")
        assert b"the body took longer than 0.2 s to arrive" in said
        assert httpx.post(f"{live.url}/v1/completions", json=BODY | {"max_tokens": 300}, timeout=60).status_code == 200


def test_keys_come_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("DECANT_API_KEYS", "one, two")
    keys = Keys.read(None)
    assert keys.pass_("Bearer one")
    assert keys.pass_("Bearer two")
    assert not keys.pass_("Bearer one, two")
    assert "one" not in repr(keys)
    monkeypatch.setenv("DECANT_API_KEYS", " ,")
    with pytest.raises(BadInput, match="DECANT_API_KEYS holds no key"):
        Keys.read(None)
    (tmp_path / "empty").write_text("# nobody\n")
    with pytest.raises(BadInput, match="holds no key; write one a line"):
        Keys.read(tmp_path / "empty")
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        Keys.read(tmp_path / "none")
    monkeypatch.delenv("DECANT_API_KEYS")
    assert Keys.read(None) == Keys()


def test_a_playground_is_served_where_there_is_one(serving, monkeypatch, tmp_path):
    (tmp_path / "index.html").write_text("<title>here</title>")
    monkeypatch.setattr(routes, "PLAYGROUND", tmp_path)
    client = TestClient(serving().app, base_url="http://127.0.0.1")
    assert client.get("/").text == "<title>here</title>"
    assert client.get("/v1/models").json()["object"] == "list"
    assert client.get("/nothing").json()["error"]["code"] == "not_found"


@pytest.mark.parametrize("path", ["/", "/app.js", "/v1/models", "/v1/nothing", "/metrics", "/health"])
def test_no_page_frames_an_answer_guesses_what_it_is_or_hears_of_it(client, path):
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    policy = headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "script-src 'self'"} <= set(policy)
    assert not [one for one in policy if "unsafe" in one or "http" in one or "*" in one]


def test_what_is_refused_in_front_is_guarded_too(guarded):
    for headers in ({}, {"content-length": "3000", "authorization": "Bearer first-key"}):
        reply = guarded.post("/v1/completions", content=b"{}", headers=headers)
        assert reply.status_code in {401, 413}
        assert gate.GUARDS.items() <= reply.headers.items()


def test_streams_are_guarded_too(client):
    with client.stream("POST", "/v1/completions", json=BODY | {"stream": True}) as reply:
        assert reply.status_code == 200
        assert gate.GUARDS.items() <= reply.headers.items()


def test_the_playground_says_the_same_of_itself(client):
    """Wherever its files are served; frames alone are the header's affair."""
    said = re.search(r'Content-Security-Policy" content="([^"]+)"', client.get("/").text)
    assert said is not None
    assert f"{said[1]}; frame-ancestors 'none'" == gate.POLICY
