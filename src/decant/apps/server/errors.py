"""What a client is told when it gets no answer, in the shape of the OpenAI API.

Source: https://platform.openai.com/docs/guides/error-codes.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from decant.apps.sampling import NAMES
from decant.errors import DecantError

SHOWN: Final = 60  # characters of a value in a message
LONGEST_WAIT: Final = 60  # seconds that a client is sent away for
KINDS: Final = {429: "rate_limit_error"}


@final
class Failure(Exception):
    """An answer that is none.

    status: of HTTP. code: what a program reads. param: the field that is to blame. wait: seconds until another try.
    """

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None, wait: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.wait = status, message, code, param, wait

    def body(self) -> dict[str, Any]:
        """As the client reads it."""
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Beside the body."""
        found = {} if self.wait is None else {"Retry-After": str(self.wait)}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


def refused(error: Exception) -> Failure:
    """What the client can mend is its own: 400. Everything else is the server's: 500."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, DecantError):
        said = str(error)
        named = max((one for one in NAMES if said.startswith(one)), key=len, default=None)
        return Failure(400, said, code="invalid_value", param=named)
    return Failure(500, f"unexpected {type(error).__name__}; the server's log says more", code="internal_error")


def full(spent: float) -> Failure:
    """There is no place in line. spent: seconds that a text takes, about."""
    wait = min(LONGEST_WAIT, max(1, math.ceil(spent)))
    return Failure(429, f"the line is full; ask again in {wait} s", code="queue_full", wait=wait)


def stopping() -> Failure:
    """No more calls are taken."""
    return Failure(503, "the server is stopping; ask again later", code="stopping", wait=1)


def late(limit: float) -> Failure:
    """Nothing was said in time. limit: seconds."""
    return Failure(503, f"no answer within {limit:g} s", code="timeout", wait=1)


def gone() -> Failure:
    """Which nobody hears; 499 is nginx's number."""
    return Failure(499, "the client has gone")


def misread(errors: Sequence[Mapping[str, Any]], names: frozenset[str]) -> Failure:
    """The first fault of a body that is not what was agreed. errors: pydantic's; names: fields that there are."""
    first = errors[0]
    kind, path = first["type"], [one for one in first["loc"] if one != "body"]
    if kind == "json_invalid":
        return Failure(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}", code=kind)
    last = path[-1:] if kind in {"extra_forbidden", "missing"} else []
    param = _spelt([one for one in path[: len(path) - len(last)] if isinstance(one, int) or one in names] + last)
    if not param:
        return Failure(400, "the body is a JSON object, sent with Content-Type: application/json", code="invalid_type")
    if kind == "extra_forbidden":
        return Failure(400, f"{param} is not supported; leave it out", code="unsupported_parameter", param=param)
    if kind == "missing":
        return Failure(400, f"{param} is required", code="missing_required_parameter", param=param)
    of_it = [one for one in errors if one.get("input") == first.get("input")]  # one for each thing that it could be
    said = " or ".join(dict.fromkeys(one["msg"][:1].lower() + one["msg"][1:] for one in of_it))
    return Failure(400, f"{param}: {said}, got {shown(first.get('input'))}", code="invalid_value", param=param)


def shown(value: Any) -> str:
    """A value in a message, shortened."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _spelt(path: Sequence[Any]) -> str:
    """messages[0].content"""
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path).removeprefix(".")
