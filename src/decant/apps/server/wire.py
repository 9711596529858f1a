"""What clients send: the request bodies of the OpenAI API, and this server's own fields beside them.

A field that is null counts as not given. Fields that would change nothing are read and forgotten; all others that the
server does not know are refused by name.
Source: https://platform.openai.com/docs/api-reference.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

SAMPLES: Final = 128
STOPS: Final = 16
TOP: Final = 20
OF_COMPLETIONS: Final = 5  # likeliest tokens, at most, of the older endpoint
BIASES: Final = 4096  # they are laid out anew at every step
WORDS: Final = 1024  # that are never said; every step compares all of them
LONGEST: Final = 64  # characters, or ids, of one of those
PAIRS: Final = 16  # of metadata, as the OpenAI API has it


def _few(most: int) -> BeforeValidator:
    """Not more entries than `most`, counted before any is looked at: each that is wrong would cost a thousand bytes."""

    def check(value: Any) -> Any:
        if isinstance(value, list | dict) and len(value) > most:
            raise ValueError(f"there should be at most {most} items, not {len(value)}")
        return value

    return BeforeValidator(check)


def _whole(text: str) -> str:
    """JSON can spell half a character, which no tokenizer reads."""
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("a text should be valid unicode, without halves of characters")
    return text


Said = Annotated[str, AfterValidator(_whole)]
Text = Annotated[str, Field(min_length=1)]
Number = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]  # as far as tensors of positions count
Id = Annotated[int, Field(ge=0)]
Ids = Annotated[list[Id], Field(min_length=1, fail_fast=True)]
Word = Annotated[str, Field(min_length=1, max_length=LONGEST)]
WordIds = Annotated[list[Id], Field(min_length=1, max_length=LONGEST, fail_fast=True), _few(LONGEST)]


class Strict(BaseModel):
    """Exact types, no strangers; null is not given."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _given(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            return body
        given = {name: value for name, value in body.items() if value is not None}
        known = {field.alias or name for name, field in cls.model_fields.items()}
        for name in [name for name in given if name not in known][1:]:  # one is enough to refuse
            del given[name]
        return given


class Sampler(Strict):
    """How tokens are chosen: every setting of `sampling.Sampling`. What is left out is the model's own."""

    temperature: float | None = Field(None, description="0 is greedy.")
    top_k: Number | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    eta_cutoff: float | None = None
    epsilon_cutoff: float | None = None
    top_h: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    no_repeat_ngram_size: Number | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: Number | None = None
    mirostat: Number | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    logit_bias: (
        Annotated[dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], float], Field(max_length=BIASES), _few(BIASES)]
        | None
    ) = Field(None, description="Nats to add, by token id.")
    bad_words: Annotated[list[Word | WordIds], Field(max_length=WORDS, fail_fast=True), _few(WORDS)] | None = Field(
        None, description="Texts, or sequences of ids, that are never said."
    )


class Own(Strict):
    """This server's own wishes."""

    method: str | None = Field(None, description="plain: without speculation.")
    tokens: bool | None = Field(None, description="Tell each token, and whether it had been guessed.")


class StreamOptions(Strict):
    """About the stream itself."""

    include_usage: bool | None = Field(None, description="One more chunk with the usage.")
    include_obfuscation: bool | None = None


class Asking(Sampler):
    """What both endpoints read."""

    model: Text
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=SAMPLES)] | None = Field(None, description="Samples of each prompt.")
    stop: Text | Annotated[list[Text], Field(max_length=STOPS, fail_fast=True), _few(STOPS)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = Field(
        None, description="The same seed gives the same text; without one the server draws it and says it."
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    decant: Own | None = None
    user: str | None = None
    metadata: Annotated[dict[str, str], Field(max_length=PAIRS), _few(PAIRS)] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: Said | None = None
    service_tier: Literal["auto", "default"] | None = None


class Part(Strict):
    """A part of a message."""

    type: Literal["text"]
    text: Said


class Message(Strict):
    """One turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Said | Annotated[list[Part], Field(min_length=1, fail_fast=True)]

    @property
    def text(self) -> str:
        """All of it."""
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)


class Shape(Strict):
    """A JSON schema and its name."""

    schema_: dict[str, Any] | None = Field(None, alias="schema")
    name: str | None = None
    description: str | None = None
    strict: bool | None = Field(None, description="Answers follow the schema in any case.")


class ResponseFormat(Strict):
    """What the whole answer is."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Shape | None = None


class Chat(Asking):
    """POST /v1/chat/completions"""

    messages: Annotated[list[Message], Field(min_length=1, fail_fast=True)]
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=TOP)] | None = None
    response_format: ResponseFormat | None = None
    store: Literal[False] | None = None
    modalities: Annotated[list[Literal["text"]], Field(fail_fast=True)] | None = None
    parallel_tool_calls: bool | None = None
    tool_choice: Literal["none", "auto"] | None = None


class Completions(Asking):
    """POST /v1/completions"""

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, fail_fast=True)]
        | Annotated[list[Ids], Field(min_length=1, fail_fast=True)]
    )
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=OF_COMPLETIONS)] | None = None


MODELS: Final = (Chat, Completions, Message, Part, Shape, ResponseFormat, Own, StreamOptions)
FIELDS: Final = frozenset(one.alias or name for model in MODELS for name, one in model.model_fields.items())
