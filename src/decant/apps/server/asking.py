"""From a body to what is asked of the engine, in decant's own words."""

import secrets
from dataclasses import dataclass
from typing import Any, final

from decant.apps.choosing import refuse_stops
from decant.apps.prompts import Prompt, chat_prompt, text_prompt
from decant.apps.sampling import NAMES, Sampling
from decant.apps.server.errors import Failure
from decant.apps.server.wire import Asking, Chat, Completions, ResponseFormat
from decant.apps.session import Limits
from decant.constraints.grammar import Json
from decant.decoders.method import PLAIN

Source = Prompt | tuple[int, ...]
"""What is continued: a text or a conversation, or ids."""

FALLBACK = 16  # new tokens of a completion that does not say how many, as the OpenAI API has it
SCHEMA_AT = "response_format.json_schema.schema"
SCHEMA = 2**17  # bytes; compiling takes time that grows with the square, and 141,424 of them took 4 s


@final
@dataclass(frozen=True, slots=True)
class Served:
    """model: the id that clients give. method: what it is decoded with. max_tokens: new tokens of a text, at most."""

    model: str
    method: str
    max_tokens: int


@final
@dataclass(frozen=True, slots=True)
class Asked:
    """One call.

    n:        samples of each prompt.
    seed:     sample i has the seed `noise.sample_seed(seed, i)`.
    plain:    without speculation.
    logprobs: so many likeliest tokens in the place of each; None: no log-probabilities.
    tokens:   whether each token is told, and whether it had been guessed.
    field:    where the prompts came from.
    """

    prompts: tuple[Source, ...]
    sampling: Sampling
    limits: Limits
    seed: int
    n: int = 1
    constraint: Json | None = None
    plain: bool = False
    logprobs: int | None = None
    tokens: bool = False
    field: str = "prompt"

    @property
    def count(self) -> int:
        """Texts that are asked for."""
        return self.n * len(self.prompts)

    @property
    def detailed(self) -> bool:
        """Whether single tokens are told."""
        return self.tokens or self.logprobs is not None


def chat_asked(body: Chat, served: Served) -> Asked:
    """Raises Failure and BadInput for what cannot be asked together."""
    if body.max_tokens is not None and body.max_completion_tokens is not None:
        raise Failure(
            400, "max_tokens and max_completion_tokens say the same; give one of them", param="max_tokens",
            code="invalid_value",
        )  # fmt: skip
    if body.top_logprobs is not None and not body.logprobs:
        raise Failure(400, "top_logprobs goes with logprobs: true", param="top_logprobs", code="invalid_value")
    field = "max_tokens" if body.max_completion_tokens is None else "max_completion_tokens"
    roles = {"developer": "system"}
    messages = [{"role": roles.get(one.role, one.role), "content": one.text} for one in body.messages]
    constraint = _constraint(body.response_format)
    refuse_stops(constraint, _stops(body))
    return Asked(
        (chat_prompt(messages, "the conversation"),),
        constraint=constraint,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        field="messages",
        **_both(body, served, field, served.max_tokens),
    )


def completions_asked(body: Completions, served: Served) -> Asked:
    """Raises Failure and BadInput for what cannot be asked together."""
    if body.echo and body.logprobs is not None:
        raise Failure(
            400, "echo goes without logprobs: those of a prompt are not told; leave one of them out", param="echo",
            code="unsupported_parameter",
        )  # fmt: skip
    each: list[Any] = body.prompt if isinstance(body.prompt, list) else [body.prompt]
    if isinstance(each[0], int):
        each = [each]
    prompts = [tuple(one) if isinstance(one, list) else text_prompt(one, "the prompt") for one in each]
    return Asked(tuple(prompts), logprobs=body.logprobs, **_both(body, served, "max_tokens", FALLBACK))


def refuse_many(asked: Asked, texts: int) -> None:
    """Raises Failure for a call of more texts than a server holds."""
    if asked.count > texts:
        raise Failure(
            400, f"{asked.count} texts in a call are more than the {texts} that this server holds; ask for fewer",
            param="n" if asked.n > 1 else asked.field, code="invalid_value",
        )  # fmt: skip


def _both(body: Asking, served: Served, field: str, fallback: int) -> dict[str, Any]:
    """What both endpoints ask for. field: where the number of tokens stands."""
    if body.model != served.model:
        raise Failure(
            404, f"the model {body.model} does not exist; this server has {served.model}", param="model",
            code="model_not_found",
        )  # fmt: skip
    if body.stream_options is not None and not body.stream:
        raise Failure(400, "stream_options goes with stream: true", param="stream_options", code="invalid_value")
    own = body.decant
    if own is not None and own.method not in {None, PLAIN, served.method}:
        raise Failure(
            400, f"this server decodes with {served.method}, or without speculation: give {PLAIN} or leave it out",
            param="decant.method", code="invalid_value",
        )  # fmt: skip
    tokens = getattr(body, field) or min(fallback, served.max_tokens)
    if tokens > served.max_tokens:
        raise Failure(
            400, f"{field} is at most {served.max_tokens} here, got {tokens}", param=field, code="invalid_value"
        )
    return {
        "sampling": _sampling(body),
        "limits": Limits(tokens, _stops(body)),
        "seed": secrets.randbits(53) if body.seed is None else body.seed,  # a double, which JavaScript reads, holds 53
        "n": body.n or 1,
        "plain": own is not None and own.method == PLAIN,
        "tokens": own is not None and bool(own.tokens),
    }


def _stops(body: Asking) -> tuple[str, ...]:
    return (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())


def _sampling(body: Asking) -> Sampling:
    said: dict[str, Any] = {name: getattr(body, name) for name in NAMES}
    if body.logit_bias is not None:
        said["logit_bias"] = {int(token): bias for token, bias in body.logit_bias.items()}
    return Sampling(**said)


def _constraint(asked: ResponseFormat | None) -> Json | None:
    if asked is None or asked.type == "text":
        return None
    if asked.type == "json_object":
        return Json({"type": "object"})
    if asked.json_schema is None or asked.json_schema.schema_ is None:
        raise Failure(
            400, "response_format json_schema needs json_schema.schema", param=SCHEMA_AT,
            code="missing_required_parameter",
        )  # fmt: skip
    try:
        found = Json(asked.json_schema.schema_)
    except RecursionError:
        raise Failure(400, "the JSON schema is nested too deeply", param=SCHEMA_AT, code="invalid_value") from None
    if len(found.text) > SCHEMA:
        raise Failure(
            400, f"the JSON schema has {len(found.text):,} bytes and may have {SCHEMA:,}; leave something out",
            param=SCHEMA_AT, code="invalid_value",
        )  # fmt: skip
    return found
