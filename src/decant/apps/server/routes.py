"""The paths of the server, and what each answers."""

import hashlib
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

import decant
from decant.apps.server import schemas
from decant.apps.server.asking import Asked, Served, chat_asked, completions_asked
from decant.apps.server.engine import Engine
from decant.apps.server.errors import Failure, misread, refused
from decant.apps.server.replies import NAMES, Form, Kind
from decant.apps.server.spelling import Spelling
from decant.apps.server.streaming import Answer, refusal
from decant.apps.server.wire import FIELDS, Asking, Chat, Completions
from decant.errors import DecantError

POSTED: Final = ("/v1/chat/completions", "/v1/completions")
PLAYGROUND: Final = Path(__file__).parent / "playground"
EVENTS: Final = {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
FAULTS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"model": schemas.Refusal, "description": why}
    for status, why in {
        400: "A field is wrong, or not supported: the message names it.",
        401: "No key of this server was given.",
        404: "There is no such model.",
        408: "The body did not arrive in time.",
        413: "The body is too large.",
        429: "The line is full; Retry-After says when to ask again.",
        500: "A fault of the server's own.",
        503: "The server is stopping, or there was no answer in time.",
    }.items()
}


class Counter(Protocol):
    """Behind the routes."""

    @property
    def served(self) -> Served:
        """What is served."""
        ...

    @property
    def created(self) -> int:
        """When it began to answer, in seconds since 1970."""
        ...

    def answer(self, kind: Kind, body: Asking, asked: Asked) -> Response:
        """Put the call in line. Raises Failure."""
        ...

    async def health(self) -> schemas.Health:
        """Whether calls are taken."""
        ...

    async def counted(self) -> bytes:
        """For Prometheus."""
        ...


@final
@dataclass(frozen=True, slots=True)
class Desk:
    """A `Counter` in front of one engine. build: which model, method and version answers. created: when it began to."""

    engine: Engine
    served: Served
    spelling: Spelling
    build: str
    created: int

    @classmethod
    def of(cls, engine: Engine, served: Served) -> "Desk":
        """Raises BadInput for a model without tokenizer files."""
        target = engine.composer.session.target
        facts = json.dumps([decant.__version__, served.method, target.facts()], sort_keys=True, default=str)
        build = f"decant-{hashlib.sha256(facts.encode()).hexdigest()[:12]}"
        return cls(engine, served, Spelling.of(target), build, int(time.time()))

    def answer(self, kind: Kind, body: Asking, asked: Asked) -> Response:
        """Put the call in line. Raises Failure."""
        echoed: tuple[str, ...] = ()
        if isinstance(body, Completions) and body.echo:
            echoed = tuple((self._decoded(one) if isinstance(one, tuple) else one.text or "") for one in asked.prompts)
        usage = bool(body.stream_options and body.stream_options.include_usage)
        name = f"{NAMES[kind]}{uuid.uuid4().hex}"
        form = Form(kind, asked, self.spelling, name, int(time.time()), self.served.model, self.build, usage, echoed)
        return Answer(self.engine, self.engine.submit(asked), form, bool(body.stream))

    async def health(self) -> schemas.Health:
        """Whether calls are taken."""
        taken = self.engine.alive and not self.engine.draining
        return schemas.Health(status="ok" if taken else "stopping", open=self.engine.open)

    async def counted(self) -> bytes:
        """For Prometheus."""
        return self.engine.metrics.text()

    def _decoded(self, ids: tuple[int, ...]) -> str:
        """Without the tokenizer, which is the engine's."""
        return b"".join(self.spelling.bytes(one) or b"" for one in ids).decode(errors="replace")


def application(desk: Counter) -> FastAPI:
    """All routes, and the playground where it is there."""
    app = FastAPI(title="decant", version=decant.__version__, docs_url=None, redoc_url=None)
    _answers(app, desk)
    _facts(app, desk)
    _faults(app)
    if (PLAYGROUND / "index.html").is_file():
        _playground(app)
    _describe(app)
    return app


def _playground(app: FastAPI) -> None:
    """Its files one by one: a folder mounted at / would answer for every wrong verb elsewhere."""
    for file in sorted(one for one in PLAYGROUND.rglob("*") if one.is_file()):
        name = file.relative_to(PLAYGROUND).as_posix()
        app.add_api_route(
            "/" if name == "index.html" else f"/{name}", _sends(file), include_in_schema=False, response_model=None
        )


def _sends(file: Path) -> Callable[[], Awaitable[FileResponse]]:
    async def send() -> FileResponse:
        return FileResponse(file)

    return send


def _answers(app: FastAPI, desk: Counter) -> None:
    chat: dict[int | str, dict[str, Any]] = {200: {"model": schemas.ChatReply, **EVENTS}, **FAULTS}
    text: dict[int | str, dict[str, Any]] = {200: {"model": schemas.TextReply, **EVENTS}, **FAULTS}

    @app.post(POSTED[0], response_class=JSONResponse, responses=chat)
    async def chat_completions(body: Chat) -> Response:
        """Answer a conversation."""
        return desk.answer("chat", body, chat_asked(body, desk.served))

    @app.post(POSTED[1], response_class=JSONResponse, responses=text)
    async def completions(body: Completions) -> Response:
        """Continue a prompt, or several."""
        return desk.answer("completions", body, completions_asked(body, desk.served))


def _facts(app: FastAPI, desk: Counter) -> None:
    owner = {"created": desk.created, "owned_by": "decant"}
    card = {"id": desk.served.model, "object": "model", **owner}

    def listed(*statuses: int) -> dict[int | str, dict[str, Any]]:
        return {status: FAULTS[status] for status in (400, *statuses)}

    @app.get("/v1/models", responses=listed(401), response_model=schemas.Models)
    async def models() -> Any:
        """The one model."""
        return {"object": "list", "data": [card]}

    @app.get("/v1/models/{name:path}", responses=listed(401, 404), response_model=schemas.Model)
    async def model(name: str) -> Any:
        """The model of that name; a name may hold slashes."""
        if name != desk.served.model:
            raise Failure(
                404, f"the model {name} does not exist; this server has {desk.served.model}", param="model",
                code="model_not_found",
            )  # fmt: skip
        return card

    @app.get("/health", response_model=schemas.Health, responses={**listed(), 503: {"model": schemas.Health}})
    async def health() -> Any:
        """Whether calls are taken."""
        found = await desk.health()
        return JSONResponse(found.model_dump(), 200 if found.status == "ok" else 503)

    @app.get("/metrics", response_class=Response, responses={**listed(401), 200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(await desk.counted(), headers={"content-type": CONTENT_TYPE_LATEST})


def _faults(app: FastAPI) -> None:
    """Whatever goes wrong is told in one shape."""

    @app.exception_handler(Failure)
    @app.exception_handler(DecantError)
    async def refuse(request: Request, error: Exception) -> Response:
        return refusal(refused(error))

    @app.exception_handler(RequestValidationError)
    async def refuse_body(request: Request, error: RequestValidationError) -> Response:
        return refusal(misread(error.errors(), FIELDS))

    @app.exception_handler(HTTPException)
    async def refuse_path(request: Request, error: HTTPException) -> Response:
        said = {
            400: "the body cannot be read as JSON: its encoding, its depth or a number of it is out of bounds",
            404: f"there is nothing at {request.url.path}",
            405: f"{request.url.path} takes no {request.method}",
        }
        codes = {
            400: "json_invalid",
            413: "request_too_large",
            404: "not_found",
            405: "method_not_allowed",
            408: "timeout",
        }
        failure = Failure(
            error.status_code, said.get(error.status_code, error.detail), code=codes.get(error.status_code)
        )
        response = refusal(failure)
        response.headers.update(error.headers or {})
        if error.status_code == 405:
            response.headers["Allow"] = "POST" if request.url.path in POSTED else "GET"
        return response

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> Response:
        return refusal(refused(error))


def _describe(app: FastAPI) -> None:
    """FastAPI promises 422 for a body that is wrong; here that is 400."""
    described = app.openapi()
    for path in described["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        described["components"]["schemas"].pop(name, None)
    app.openapi = lambda: described
