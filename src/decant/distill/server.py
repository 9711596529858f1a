"""Questions to a server over HTTP: asked again with growing patience, at a bounded rate."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Final, final

from decant.errors import BadInput

PASSING: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504})  # statuses that may be gone the next time
LONGEST: Final = 60.0  # seconds between two tries
SHOWN: Final = 300  # characters of what a server says


@final
class _Clock:
    """When the next question may be asked, by whichever thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self, apart: float) -> None:
        """Until it is this thread's turn."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + apart
        time.sleep(turn - now)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Server:
    """url: as OpenAI's clients want it, with /v1. key: sent as a bearer token. timeout: seconds of a try.

    tries: of a question. patience: seconds before the second one, doubled each time, at most 60; a server that says
    Retry-After is believed. per_second: questions at most, tries included; None: no bound. who, again: what errors call
    it, and what they say is done once it answers.
    """

    url: str
    key: str | None = field(default=None, repr=False)
    timeout: float = 120.0
    tries: int = 6
    patience: float = 1.0
    per_second: float | None = None
    who: str = "teacher"
    again: str = "then repeat the command: it goes on from its last checkpoint"
    _clock: _Clock = field(default_factory=_Clock, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise BadInput(f"a server is named by http://... or https://..., not {self.url!r}")
        if self.tries < 1 or self.timeout <= 0 or self.patience < 0 or (self.per_second or 1.0) <= 0:
            raise BadInput(
                f"tries must be at least 1, timeout and per_second above 0 and patience not below, got {self.tries}, "
                f"{self.timeout}, {self.per_second} and {self.patience}"
            )

    def ask(self, path: str, question: dict[str, Any] | None, what: str) -> dict[str, Any]:
        """The answer to a question about `what`; None asks nothing (GET). Raises BadInput for a refusal, and where no
        try is left."""
        request = urllib.request.Request(
            f"{self.url.rstrip('/')}/{path}",
            data=None if question is None else json.dumps(question).encode(),
            headers={"Content-Type": "application/json"}
            | ({"Authorization": f"Bearer {self.key}"} if self.key else {}),
        )
        wait, failure = self.patience, ""
        for left in reversed(range(self.tries)):
            self._clock.wait(1 / self.per_second if self.per_second else 0.0)
            answer, failure, told = self._try(request, what)
            if answer is not None:
                return answer
            if not left:
                break
            time.sleep(min(wait if told is None else told, LONGEST))
            wait *= 2
        raise BadInput(
            f"the {self.who} at {self.url} gave no answer for {what} in {self.tries} tries ({failure}); start it "
            f"again, {self.again}"
        )

    def _try(self, request: urllib.request.Request, what: str) -> tuple[dict[str, Any] | None, str, float | None]:
        """The answer, or why there is none, and for how many seconds the server wants to be left alone."""
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                answer = json.loads(reply.read())
                return (answer, "", None) if isinstance(answer, dict) else (None, "its answer is no object", None)
        except urllib.error.HTTPError as error:
            with error:
                said = error.read(SHOWN).decode(errors="replace")
                failure = f"{error.code} {error.reason}: {said}" if said else f"{error.code} {error.reason}"
                if error.code not in PASSING:
                    raise BadInput(
                        f"the {self.who} at {self.url} refuses {what}: {failure}; mend the address, the key or the "
                        f"model's name, or ask for fewer log-probabilities"
                    ) from error
                return None, failure, _seconds(error.headers.get("Retry-After"))
        except (OSError, http.client.HTTPException, ValueError) as error:  # refused, cut short, no JSON
            reason = getattr(error, "reason", None) or error
            return None, f"{type(error).__name__}: {reason}"[:SHOWN], None


def _seconds(said: str | None) -> float | None:
    """Of a Retry-After; a date counts as nothing said."""
    try:
        return max(0.0, float(said)) if said else None
    except ValueError:
        return None
