"""A server of the playground that answers with what it was given, and keeps what it was asked."""

import json
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import decant

PLAYGROUND = Path(decant.__file__).parent / "apps" / "server" / "playground"
WORDS = ["The", " answer", " is", " <b>", "9", "</b>", ",\n", "as", " it", " was", " yesterday", "."]


class Canned(ThreadingHTTPServer):
    """key: the only one that will do; None: any. busy: seconds of Retry-After with which all are refused. breaks: the
    stream ends with an error. hold: an event that the last token waits for."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.key, self.busy, self.breaks, self.hold = None, None, False, threading.Event()
        self.asked, self.left = [], threading.Event()
        self.hold.set()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Answering(SimpleHTTPRequestHandler):
    server: Canned

    def __init__(self, *words):
        super().__init__(*words, directory=PLAYGROUND)

    def log_message(self, *words):
        """Silent."""

    def do_GET(self):
        if self.path != "/v1/models":
            super().do_GET()
        elif not self._known():
            self._refuse(401, "give an API key")
        else:
            self._say(200, {"object": "list", "data": [{"id": "house:target", "object": "model"}]})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        if not self._known():
            return self._refuse(401, "give an API key")
        if self.server.busy is not None:
            return self._refuse(429, "the line is full", {"Retry-After": str(self.server.busy)})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        try:
            self._stream(plain=asked["decant"].get("method") == "plain")
        except OSError:
            self.server.left.set()

    def _stream(self, plain):
        for at, word in enumerate(WORDS):
            if at == len(WORDS) - 1:
                while not self.server.hold.wait(0.05):
                    self._event({"choices": []})  # a client that has left is noticed by writing to it
            drafted = not plain and at % 4 != 0
            token = {"text": word, "drafted": drafted}
            self._event({"choices": [{"index": 0, "delta": {"content": word}, "decant": {"tokens": [token]}}]})
        if self.server.breaks:
            return self._event({"error": {"message": "the server is stopping"}})
        statistics = {
            "method": "plain" if plain else "draft-model", "promise": "tokens", "seed": 7,
            "acceptance_length": 1.0 if plain else 4.0, "target_calls": 12 if plain else 3, "tokens": 12,
            "drafted": 0 if plain else 9, "ttft_seconds": 0.012, "tokens_per_second": 40.0 if plain else 100.0,
        }  # fmt: skip
        last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "decant": statistics}
        self._event(last)
        return self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, said):
        self.wfile.write(f"data: {json.dumps(said)}\n\n".encode())
        self.wfile.flush()

    def _known(self):
        return self.server.key is None or self.headers["Authorization"] == f"Bearer {self.server.key}"

    def _refuse(self, status, message, headers=None):
        self._say(status, {"error": {"message": message, "type": "x", "param": None, "code": None}}, headers)

    def _say(self, status, said, headers=None):
        body = json.dumps(said).encode()
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving():
    """It answers until the block ends."""
    with Canned() as server:
        running = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        running.start()
        try:
            yield server
        finally:
            server.hold.set()
            server.shutdown()
            running.join()
