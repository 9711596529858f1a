"""Completions of a Markov table with speculation that is right, or wrong in a known way; by call, or as a server.

What proofs of other engines are tried on: texts are letters, and nothing depends on a seed.
"""

import json
import math
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import accumulate
from typing import Any, Final, Literal, final

from decant.testing.markov import MarkovLM

Kind = Literal["plain", "lossless", "accepts all", "no residual"]
"""No speculation; rejection sampling; every guess is kept; what follows a refusal is drawn from p, not from what is
left of it."""

DEPTH: Final = 3  # guesses of a round
LETTERS: Final = 8
JITTER: Final = 1e-3
MODEL: Final = "markov"
Table = list[list[list[float]]]


@final
@dataclass(slots=True, eq=False)
class Speaker:
    """target, draft: logits of what follows two letters. jitter: nats by which every logit wavers each time it is
    computed, so that near-ties fall either way."""

    target: Table
    draft: Table
    kind: Kind = "plain"
    jitter: float = 0.0
    rng: random.Random = field(default_factory=random.Random)
    _laws: dict[tuple[bool, int, int, float], list[float]] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: Kind, seed: int, draws: int = 0, ties: bool = False) -> "Speaker":
        """A table of `seed` and chances of `draws`. ties: logits are tenths that waver, so that the best letter is at
        times one of two, now this, now that."""
        model = MarkovLM.random(LETTERS, seed, spread=1.5)
        tables = [
            one.logits_UVV.round(decimals=1) if ties else one.logits_UVV for one in (model, model.blurred(seed + 1))
        ]
        target, draft = (table.tolist() for table in tables)
        return cls(target, draft, kind, JITTER if ties else 0.0, random.Random(draws))

    def say(self, prompt: str, max_tokens: int, temperature: float, seed: int = 0) -> str:
        """So many letters more."""
        del seed  # as engines do that have none
        said = [self._letter(letter) for letter in prompt[-2:]]
        start = len(said)
        while len(said) < start + max_tokens:
            if self.kind == "plain":
                said.append(self._draw(self._law(False, said, temperature)))
            else:
                self._round(said, temperature)
        return "".join(chr(ord("a") + token) for token in said[start : start + max_tokens])

    def tops(self, prompt: str) -> dict[str, float]:
        """Log-probabilities of the letters that may come next."""
        law = self._law(False, [self._letter(letter) for letter in prompt[-2:]], 1.0)
        return {chr(ord("a") + token): math.log(share) for token, share in enumerate(law)}

    def _round(self, said: list[int], temperature: float) -> None:
        """Guesses, those that are kept, and a letter of the target's own."""
        guessed = list(said)
        laws: list[list[float]] = []
        for _ in range(DEPTH):
            laws.append(self._law(True, guessed, temperature))
            guessed.append(self._draw(laws[-1]))
        for token, q in zip(guessed[len(said) :], laws, strict=True):
            p = self._law(False, said, temperature)
            if self.kind != "accepts all" and self.rng.random() * q[token] >= p[token]:
                left = [max(0.0, ours - theirs) for ours, theirs in zip(p, q, strict=True)]
                said.append(self._draw(left if self.kind == "lossless" and sum(left) > 0 else p))
                return
            said.append(token)
        said.append(self._draw(self._law(False, said, temperature)))

    def _law(self, draft: bool, said: list[int], temperature: float) -> list[float]:
        key = (draft, said[-2], said[-1], temperature)
        if not self.jitter and key in self._laws:
            return self._laws[key]
        logits = (self.draft if draft else self.target)[said[-2]][said[-1]]
        if self.jitter:
            logits = [logit + self.rng.gauss(0.0, self.jitter) for logit in logits]
        best = max(logits)
        if temperature:
            weights = [math.exp((logit - best) / temperature) for logit in logits]
        else:
            weights = [0.0] * len(logits)
            weights[logits.index(best)] = 1.0
        whole = sum(weights)
        self._laws[key] = [weight / whole for weight in weights]
        return self._laws[key]

    def _draw(self, law: list[float]) -> int:
        return self.rng.choices(range(len(law)), cum_weights=list(accumulate(law)))[0]

    def _letter(self, letter: str) -> int:
        return (ord(letter) - ord("a")) % len(self.target[0])


@contextmanager
def serving(speaker: Speaker, asked: list[dict[str, Any]] | None = None) -> Iterator[str]:
    """The address of a server on the loopback, /v1 included, while the block runs. asked: gets every question."""
    own = {"speaker": speaker, "asked": asked, "log_message": lambda *_: None}
    answers = type("Answers", (BaseHTTPRequestHandler,), {**own, "do_GET": _answer, "do_POST": _answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(self: Any) -> None:
    """models, completions and chat/completions; nothing else is there."""
    length = int(self.headers.get("Content-Length", 0))
    question = json.loads(self.rfile.read(length)) if length else {}
    if self.asked is not None:
        self.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **question})
    found = _found(self.speaker, self.path, question)
    reply = json.dumps(found or {"error": "there is no such path"}).encode()
    self.send_response(200 if found else 404)
    self.send_header("Content-Type", "application/json")
    self.send_header("Content-Length", str(len(reply)))
    self.end_headers()
    self.wfile.write(reply)


def _found(speaker: Speaker, path: str, question: dict[str, Any]) -> dict[str, Any] | None:
    if path == "/v1/models":
        return {"data": [{"id": MODEL}]}
    if path not in ("/v1/completions", "/v1/chat/completions"):
        return None
    chat = path == "/v1/chat/completions"
    prompt = question["messages"][-1]["content"] if chat else question["prompt"]
    text = speaker.say(prompt, question["max_tokens"], question["temperature"])
    if chat:
        return {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": "length"}]}
    choice: dict[str, Any] = {"text": text, "finish_reason": "length"}
    if question.get("logprobs"):
        choice["logprobs"] = {"tokens": list(text), "top_logprobs": [speaker.tops(prompt)]}
    return {"choices": [choice]}
