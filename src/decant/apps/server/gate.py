"""In front of all routes: who may ask, how much, and what is counted."""

import asyncio
from dataclasses import dataclass
from typing import Final, final

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from decant.apps.server.errors import Failure
from decant.apps.server.keys import LOCAL, Keys
from decant.apps.server.metrics import Metrics

GONE: Final = 499  # the client left before there was an answer; nginx's number
KNOWN: Final = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/models", "/health", "/metrics", "/openapi.json", "/"}
)
POLICY: Final = (  # of the playground's page, which brings all that it needs; the page says so itself, but for frames
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
GUARDS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@final
@dataclass(frozen=True, slots=True)
class Gate:
    """An ASGI application around another.

    most:  bytes of a body.
    local: answer only to names of this machine: a page of somebody else's, whose name leads here, is kept out.
    patience: seconds that a body may take to arrive.
    """

    app: ASGIApp
    keys: Keys
    metrics: Metrics
    most: int
    local: bool
    patience: float = 60.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        told: list[int] = []
        path = scope["path"] if scope["path"] in KNOWN else "/v1/models" if "/v1/models/" in scope["path"] else "other"

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                told.append(message["status"])
                MutableHeaders(scope=message).update(GUARDS)
            await send(message)

        try:
            try:
                self._refuse(scope)
                await self.app(scope, self._measured(receive), watched)
            except Failure as failure:
                await JSONResponse(failure.body(), failure.status, failure.headers())(scope, receive, watched)
        finally:
            self.metrics.requests.labels(path, str(told[0] if told else GONE)).inc()

    def _refuse(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        if self.local and _name(headers.get("host", "")) not in LOCAL:
            raise Failure(
                400, f"this server answers as {', '.join(LOCAL)} only, not as {headers.get('host', '')!r}; start it "
                f"with API keys for other names", code="invalid_host",
            )  # fmt: skip
        guarded = path.startswith("/v1") or path == "/metrics"
        if guarded and not self.keys.pass_(headers.get("authorization")):
            raise Failure(
                401, "no key of this server was given; send Authorization: Bearer KEY", code="invalid_api_key"
            )
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.most:
            raise self._large()

    def _measured(self, receive: Receive) -> Receive:
        """Bodies that do not say how long they are, and those that never end."""
        size, whole = 0, False
        end = asyncio.get_running_loop().time() + self.patience

        async def measured() -> Message:
            nonlocal size, whole
            try:
                async with asyncio.timeout_at(None if whole else end):
                    message = await receive()
            except TimeoutError:
                said = f"the body took longer than {self.patience:g} s to arrive; send it at once"
                raise HTTPException(408, said, {"Connection": "close"}) from None
            whole = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if size > self.most:
                raise HTTPException(413, self._large().message)
            return message

        return measured

    def _large(self) -> Failure:
        return Failure(413, f"the body is larger than {self.most:,} bytes; shorten it", code="request_too_large")


def _name(host: str) -> str:
    """Without the port; of an IPv6 address with its brackets."""
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.rsplit(":", 1)[0].lower()
