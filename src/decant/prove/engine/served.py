"""An OpenAI-compatible server as one that continues prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, final
from urllib.parse import urlsplit

from decant.distill.server import Server
from decant.errors import BadInput

Door = Literal["completions", "chat"]
Asked = str | Sequence[dict[str, str]]
"""A prompt: text, or the messages of a conversation."""

TOPS: Final = 5  # likeliest tokens that every server tells: OpenAI's own limit
PATHS: Final[dict[Door, str]] = {"completions": "completions", "chat": "chat/completions"}


class Speaks(Protocol):
    """Whoever continues prompts: a server, or a stand-in."""

    def say(self, prompt: Any, max_tokens: int, temperature: float, seed: int = 0) -> str:
        """The new text."""
        ...

    def tops(self, prompt: Any) -> dict[str, float] | None:
        """Log-probabilities of the likeliest next tokens, by their text; None where they are not told."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Served:
    """model: the server's name for it. door: which of the two endpoints is asked.

    seeds: whether questions carry one, each its own: a server that always starts from the same seed would else give
        the same draw each time. Nothing rests on what the server does with it.
    """

    server: Server
    model: str
    door: Door
    seeds: bool = True

    @classmethod
    def found(cls, server: Server, model: str | None, chat: bool) -> "Served":
        """The server as it likes to be asked: its first model, at completions if it has them. chat: whether prompts
        are conversations. Raises BadInput for one that cannot be asked at all."""
        name = model or _first(server)
        doors: list[Door] = ["chat"] if chat else ["completions", "chat"]
        failures: list[str] = []
        for door in doors:
            for seeds in (True, False):
                served = cls(server, name, door, seeds)
                try:
                    served.say([{"role": "user", "content": "1 2"}] if chat else "1 2", 1, 0.0, 1)
                except BadInput as error:
                    failures.append(str(error))
                    if "gave no answer" in failures[-1]:
                        raise
                else:
                    return served
        raise BadInput(failures[0])

    def say(self, prompt: Asked, max_tokens: int, temperature: float, seed: int = 0) -> str:
        """The new text. Raises BadInput for an answer that holds none."""
        answer = self._ask(prompt, max_tokens, temperature, {"seed": seed} if self.seeds else {})
        try:
            choice = answer["choices"][0]
            text = choice["text"] if self.door == "completions" else choice["message"]["content"]
            return "" if text is None else str(text)
        except (KeyError, IndexError, TypeError) as error:
            raise BadInput(
                f"the {self.server.who} at {self.server.url} answered without a text ({type(error).__name__}: "
                f"{error}); it must speak as OpenAI's /v1/{PATHS[self.door]} does"
            ) from error

    def tops(self, prompt: Asked) -> dict[str, float] | None:
        """As the server tells them behind a text; None of conversations, and of servers that tell none."""
        if self.door != "completions" or not isinstance(prompt, str):
            return None
        try:
            answer = self._ask(prompt, 1, 1.0, {"logprobs": TOPS})  # at 0 some tell the law of a greedy draw
            found = answer["choices"][0]["logprobs"]["top_logprobs"][0]
            return {str(text): float(nats) for text, nats in found.items()}
        except (BadInput, KeyError, IndexError, TypeError, AttributeError, ValueError):
            return None

    def _ask(self, prompt: Asked, max_tokens: int, temperature: float, more: dict[str, Any]) -> dict[str, Any]:
        if self.door == "completions":
            said: dict[str, Any] = {"prompt": prompt}
        else:
            messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
            said = {"messages": messages}
        question = {"model": self.model, **said, "max_tokens": max_tokens, "temperature": temperature, "top_p": 1.0}
        return self.server.ask(PATHS[self.door], {**question, **more}, "a prompt")


def address(url: str) -> str:
    """The server's address as clients want it: with /v1 where no path was given."""
    return url.rstrip("/") + ("" if urlsplit(url).path.strip("/") else "/v1")


def _first(server: Server) -> str:
    """The first model that it names. Raises BadInput."""
    answer = server.ask("models", None, "the list of its models")
    try:
        return str(answer["data"][0]["id"])
    except (KeyError, IndexError, TypeError):
        raise BadInput(
            f"the {server.who} at {server.url} names no model; name it yourself with --engine-model"
        ) from None
