"""A tiny model behind a server that speaks both dialects, and can be made to fail."""

import json
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

from decant.distill.texts import Text
from decant.models.build import LlamaSpec, untrained
from decant.models.student import read
from decant.vocab.vocabulary import Vocabulary

VOCAB = 24
PIECES = [f" w{token}".encode() for token in range(VOCAB - 2)] + [b"same", b"same"]  # two ids that write the same
SPELT = Vocabulary([None, *PIECES[1:]], {"<end>": 0})
NAMES = ["<end>", *(piece.decode() for piece in PIECES[1:])]


def model(seed: int):
    network = untrained(LlamaSpec(VOCAB, 16, 2, 2, 1, 24, head_dim=8), seed=seed)
    for weight in network.parameters():
        weight.data.mul_(4.0)  # a model with opinions
    return network


def texts(count: int = 8) -> list[Text]:
    rng = random.Random(0)
    return [Text.answer([rng.randrange(VOCAB) for _ in range(rng.randint(6, 12))], 3, at) for at in range(count)]


class Serving(ThreadingHTTPServer):
    """A tiny model that speaks both dialects; `fail` may spoil the answer to question number n."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.network = model(1).eval().requires_grad_(False)
        self.questions: list[dict[str, Any]] = []
        self.headers: list[str | None] = []
        self.fail = lambda number: None
        self.spoil = lambda answer: answer
        self.strings = lambda token: NAMES[token]
        self.lock = threading.Lock()

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        ids = asked["prompt"]
        rows = torch.arange(len(ids))
        logp = read(self.network, torch.tensor([ids]), torch.zeros_like(rows), rows).logp(slice(None))
        if "prompt_logprobs" in asked:
            entries: list[Any] = [None]
            for at, token in enumerate(ids[1:]):
                best = {*logp[at].topk(asked["prompt_logprobs"]).indices.tolist(), token}
                said = {one: {"logprob": float(logp[at, one]), "decoded_token": self.strings(one)} for one in best}
                entries.append({str(one): law for one, law in said.items()})
            return {"choices": [{"text": "x", "prompt_logprobs": entries}]}
        tops: list[Any] = [None]
        for at, _ in enumerate([*ids[1:], 0]):  # one more is generated
            best = logp[at].topk(asked["logprobs"]).indices.tolist()
            tops.append({self.strings(one): float(logp[at, one]) for one in best})
        chosen = [None, *(float(logp[at, token]) for at, token in enumerate([*ids[1:], 0]))]
        said = {"tokens": [self.strings(one) for one in [*ids, 0]], "token_logprobs": chosen, "top_logprobs": tops}
        return {"choices": [{"logprobs": said}]}


class Answering(BaseHTTPRequestHandler):
    server: Serving

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.questions.append(asked)
            self.server.headers.append(self.headers["Authorization"])
            failure = self.server.fail(len(self.server.questions))
        if failure == "hang up":
            self.connection.close()
            return
        body = json.dumps(self.server.spoil(self.server.answer(asked))).encode()
        self.send_response(failure if isinstance(failure, int) else 200)
        self.send_header("Content-Length", str(len(body)))
        if failure == 429:
            self.send_header("Retry-After", "0")
        self.end_headers()
        if isinstance(failure, int):
            body = b'{"error": "too much"}'.ljust(len(body))
        self.wfile.write(body[: len(body) // 2] if failure == "half" else body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ValueError):
            self.close_connection = True

    def finish(self) -> None:
        try:
            super().finish()
        except (OSError, ValueError):
            self.close_connection = True
