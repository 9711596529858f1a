"""What the answers look like, for the OpenAPI description."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Open(BaseModel):
    """Answers may hold more than is described."""

    model_config = ConfigDict(extra="allow", protected_namespaces=())


class Fault(Open):
    """message: a sentence. param: the field that is to blame. code: what a program reads."""

    message: str
    type: str
    param: str | None
    code: str | None


class Refusal(Open):
    """What there is instead of an answer."""

    error: Fault


class Usage(Open):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Statistics(Open):
    """How the texts came about. promise: "tokens": the seed alone decides; "distribution": the law is the model's."""

    method: str
    promise: Literal["tokens", "distribution"] | None
    seed: int
    acceptance_length: float
    target_calls: int
    tokens: int
    drafted: int
    proposed: int
    ttft_seconds: float | None
    tokens_per_second: float
    timed_out: bool


class Said(Open):
    """An answer of the assistant."""

    role: Literal["assistant"]
    content: str


class ChatChoice(Open):
    """One sample."""

    index: int
    message: Said
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class TextChoice(Open):
    """One sample."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]


class Reply(Open):
    """What both endpoints answer."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: Usage
    decant: Statistics


class ChatReply(Reply):
    """A whole answer."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]


class TextReply(Reply):
    """A whole answer."""

    object: Literal["text_completion"]
    choices: list[TextChoice]


class Model(Open):
    """id: as `decant serve` was told."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Open):
    """All there are."""

    object: Literal["list"]
    models: list[Model] = Field(alias="data")


class Health(Open):
    """status: ok; stopping, or waiting for a replica, with 503. open: texts that run or wait."""

    status: Literal["ok", "stopping", "waiting"]
    open: int
