"""The verb `generate` as functions: `generate` for whole texts, `stream` for text as it comes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypedDict, Unpack, final, overload

from decant.apps.catalog import check
from decant.apps.choosing import refuse_stops
from decant.apps.guidance import Guidance
from decant.apps.infilling import Infill, encode
from decant.apps.obeying import obeying
from decant.apps.opening import Opening
from decant.apps.prompts import Prompt, chat_prompt, text_prompt
from decant.apps.sampling import Sampling
from decant.apps.session import PREFIX_MB, Batching, Completion, Limits, Model, Run, open_session
from decant.constraints.grammar import Description
from decant.decoders.saying import wanted
from decant.models.dola import Bucket
from decant.protocols import Constraint, Warp

Messages = list[dict[str, str]]
One = str | Messages | Infill
Several = list[str] | list[Messages] | list[Infill] | list[One]
Exact = Literal["auto", "on", "off"]
Choosing = Constraint[Any] | Description
"""What may come next; or a description of it, such as `Json(schema)`, for the target's tokenizer."""


@final
class Stream:
    """The text of one request, piece by piece; `completion` is what was said so far, all of it after the last piece."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def __iter__(self) -> Iterator[str]:
        return (new[0] for new in self._run if new[0])

    @property
    def completion(self) -> Completion:
        """What was said so far."""
        return self._run.completion(0)


class More(TypedDict, total=False):
    """Settings of the sampler beside the four that everybody knows; as in `sampling.Sampling`."""

    typical_p: float | None
    eta_cutoff: float | None
    epsilon_cutoff: float | None
    top_h: float | None
    top_n_sigma: float | None
    xtc_probability: float | None
    xtc_threshold: float | None
    repetition_penalty: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    no_repeat_ngram_size: int | None
    dry_multiplier: float | None
    dry_base: float | None
    dry_allowed_length: int | None
    mirostat: int | None
    mirostat_tau: float | None
    mirostat_eta: float | None
    logit_bias: Mapping[int, float] | None
    bad_words: Sequence[str | Sequence[int]] | None


class Settings(More, total=False):
    """The keywords of `generate`, for the type checker."""

    draft: Model | None
    method: str | None
    verifier: str | None
    policy: str | None
    max_tokens: int
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    sampler: Sequence[Warp] | None
    constraint: Choosing | None
    fill_grammar: str | None
    guidance: float | None
    negative_prompt: str | None
    contrast: Model | None
    contrast_beta: float | None
    dola: Bucket | None
    logprobs: int | None
    processed_logprobs: bool
    seed: int
    stop: str | Sequence[str]
    dtype: str
    device: str
    exact: Exact
    batch: int
    cache_mb: float | None


@overload
def generate(model: Model, prompt: One, **settings: Unpack[Settings]) -> Completion: ...


@overload
def generate(model: Model, prompt: Several, **settings: Unpack[Settings]) -> list[Completion]: ...


def generate(
    model: Model,
    prompt: One | Several,
    *,
    draft: Model | None = None,
    method: str | None = None,
    verifier: str | None = None,
    policy: str | None = None,
    max_tokens: int = 128,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    sampler: Sequence[Warp] | None = None,
    constraint: Choosing | None = None,
    fill_grammar: str | None = None,
    guidance: float | None = None,
    negative_prompt: str | None = None,
    contrast: Model | None = None,
    contrast_beta: float | None = None,
    dola: Bucket | None = None,
    logprobs: int | None = None,
    processed_logprobs: bool = False,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    dtype: str = "auto",
    device: str = "auto",
    exact: Exact = "auto",
    batch: int = 8,
    cache_mb: float | None = None,
    **more: Unpack[More],
) -> Completion | list[Completion]:
    """Continue a prompt, answer a conversation, or do so for several at once.

    model:  a Hub id, a folder, `house:NAME`, or a model that is loaded already.
    prompt: raw text; messages, which go through the chat template; `Infill`, a text with gaps, for a model that fills
        in masks: `max_tokens` then counts for nothing; or a list of those, however many.
    method: a row of the catalogue, knobs included; by default draft-model where there is a draft, else prompt-lookup.
    sampler: warps in place of temperature and the other settings of the sampler, the first acts first.
    constraint: what may come next, or a description of it: `Json(schema)`, `Regex`, `Lark`, `Choice`.
    fill_grammar: of a model that fills in masks: json, c-toy, or the rules of a grammar that the text follows from, of
        an `Infill` all of it.
    guidance: weight of what the prompt adds, 1 changes nothing; beside it `negative_prompt`, to lead away from.
    contrast: an amateur model of the same tokenizer, to be unlike; beside it `contrast_beta`, how strongly (0.5).
    dola:   "low" or "high": the half of the target's layers to be unlike. At most one of guidance, contrast and dola.
    logprobs: log-probabilities of what was said, and of so many likeliest tokens in its place; None: none.
    processed_logprobs: of the law that is drawn from, behind constraint and sampler; else of the model's own.
    more:   the other settings of the sampler: `repetition_penalty=1.1`.
    batch:  of a list, how many run at a time; the others join as these end.
    cache_mb: megabytes of keys and values that those that run may need together; by default without limit.

    Sampling settings that are None come from the model's generation_config.json. Every request has the same `seed`.
    Raises BadInput, IncompatibleParts or UnknownMethod, all of them DecantErrors.
    """
    check([] if method is None else [method], verifier, policy)
    several = isinstance(prompt, list | tuple) and not _is_messages(prompt)
    each: Any = prompt if several else [prompt]
    asked = [_prompt(one, f"prompt {at}" if several else "the prompt") for at, one in enumerate(each, 1)]
    sampling, opening = Sampling(temperature, top_k, top_p, min_p, **more), Opening(dtype, device, exact)
    limits, batching = Limits(max_tokens, _strings(stop)), Batching(batch, cache_mb)
    refuse_stops(constraint, limits.stop)
    leading = Guidance(guidance, negative_prompt, contrast, contrast_beta, dola)
    session = open_session(
        model, draft, sampling, opening, method=method, verifier=verifier, policy=policy,
        prefix_mb=PREFIX_MB if len(asked) > 1 else 0, warps=sampler, constraint=constraint,
        guidance=leading, logprobs=wanted(logprobs, processed_logprobs),
    )  # fmt: skip
    if not asked:
        return []
    ids = encode(asked, session.led)
    session = session if fill_grammar is None else obeying(session, fill_grammar, ids)
    run = session.run(ids, seed, limits, batching)
    for _ in run:
        pass
    return run.completions if several else run.completions[0]


def stream(
    model: Model,
    prompt: One,
    *,
    draft: Model | None = None,
    method: str | None = None,
    verifier: str | None = None,
    policy: str | None = None,
    max_tokens: int = 128,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    sampler: Sequence[Warp] | None = None,
    constraint: Choosing | None = None,
    fill_grammar: str | None = None,
    guidance: float | None = None,
    negative_prompt: str | None = None,
    contrast: Model | None = None,
    contrast_beta: float | None = None,
    dola: Bucket | None = None,
    logprobs: int | None = None,
    processed_logprobs: bool = False,
    seed: int = 0,
    stop: str | Sequence[str] = (),
    dtype: str = "auto",
    device: str = "auto",
    exact: Exact = "auto",
    **more: Unpack[More],
) -> Stream:
    """`generate` for one prompt, piece by piece: never half a character, never a part of a stop string."""
    check([] if method is None else [method], verifier, policy)
    sampling, opening = Sampling(temperature, top_k, top_p, min_p, **more), Opening(dtype, device, exact)
    limits = Limits(max_tokens, _strings(stop))
    refuse_stops(constraint, limits.stop)
    leading = Guidance(guidance, negative_prompt, contrast, contrast_beta, dola)
    asked = _prompt(prompt)
    session = open_session(
        model, draft, sampling, opening, method=method, verifier=verifier, policy=policy, warps=sampler,
        constraint=constraint, guidance=leading, logprobs=wanted(logprobs, processed_logprobs),
    )  # fmt: skip
    ids = encode([asked], session.led)
    session = session if fill_grammar is None else obeying(session, fill_grammar, ids)
    return Stream(session.run(ids, seed, limits))


def _is_messages(prompt: object) -> bool:
    return isinstance(prompt, list) and bool(prompt) and isinstance(prompt[0], dict)


def _prompt(prompt: object, where: str = "the prompt") -> Prompt | Infill:
    if isinstance(prompt, Infill):
        return prompt
    return chat_prompt(prompt, where) if _is_messages(prompt) else text_prompt(prompt, where)


def _strings(stop: str | Sequence[str]) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop)
