"""A target with a method in place, and requests that run through it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Final, final

from torch.nn import Module

from decant.apps.choosing import Chosen, choose
from decant.apps.compose import compose, default_method, telling
from decant.apps.guidance import Guidance, led
from decant.apps.infilling import Laid, refuse_cuts
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.apps.store import DraftStore, learnt_by
from decant.constraints.grammar import Description
from decant.decoders.continuous import Continuous, Request
from decant.decoders.generate import Output
from decant.decoders.method import Method
from decant.decoders.saying import Logprob, Logprobs, Suggestion
from decant.decoders.stopping import Reason, Stopping
from decant.decoders.text import TextStream
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.models.prefixes import Prefixes
from decant.models.spelling import token_bytes
from decant.protocols import Constraint, Warp

PREFIX_MB: Final = 256.0  # of prompts that begin alike, where there are several

Model = str | PathLike[str] | Loaded | Module
"""A Hub id, a folder, `house:NAME`; or what is loaded already: by decant, or by transformers."""


@final
@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said to one prompt.

    text:    without special tokens, cut in front of a stop string; of a template all of it, the gaps filled in.
    tokens:  output ids, an end token included.
    drafted: whether each was guessed by a drafter.
    reason:  "stop" at an end token or a stop string, "length" at the number of tokens; None while it runs.
    steps:   target calls that it took part in.
    logprobs: what was thought of each token; None where it was not asked for.
    suggestions: of a method that writes several drafts at a time, all of them with their scores.
    filled:  of a template, whose output begins at its first gap: how many tokens the model put into gaps, of end tokens
        the first of each gap alone; None: of no template.
    """

    text: str
    tokens: list[int]
    drafted: list[bool]
    reason: Reason | None
    steps: int
    logprobs: list[Logprob] | None = None
    filled: int | None = None
    suggestions: Sequence[Suggestion] = ()

    @property
    def said(self) -> int:
        """How many tokens are the model's."""
        return len(self.tokens) if self.filled is None else self.filled

    @property
    def acceptance_length(self) -> float:
        """Mean tokens a target call, the target's own included."""
        return self.said / self.steps if self.steps else 0.0


@final
@dataclass(frozen=True, slots=True)
class Limits:
    """When requests end. Raises BadInput for fewer than one token, or an empty stop string."""

    max_tokens: int = 128
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise BadInput(f"max_tokens is 1 or more, got {self.max_tokens}")
        if not all(self.stop):
            raise BadInput("a stop string is empty, which would stop every text at once; leave it out")


@final
@dataclass(frozen=True, slots=True)
class Batching:
    """How requests share a target; what they say does not depend on it. Raises BadInput where there is room for none.

    batch:    requests at a time, at most: exact mode holds fewer of some models.
    cache_mb: megabytes of keys and values that they may need together; None: no limit. Whoever has no room waits.
    """

    batch: int = 8
    cache_mb: float | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BadInput(f"batch is 1 or more, got {self.batch}")
        if self.cache_mb is not None and not self.cache_mb > 0:
            raise BadInput(f"cache_mb is more than 0, got {self.cache_mb:g}; leave it out for no limit")


@final
@dataclass(frozen=True, slots=True)
class Session:
    """A target with a method in place.

    sampling: what the method's warp was made from.
    store:    where what the drafter learns is kept after every run; None: nowhere.
    chosen:   what is done to logits, and where it comes from; None: of a method that was made elsewhere.
    logprobs: whether completions hold them.
    """

    target: Loaded
    draft: Loaded | None
    method: Method
    sampling: Sampling
    store: DraftStore | None = None
    chosen: Chosen | None = None
    logprobs: bool = False

    @property
    def led(self) -> Loaded:
        """The target as the method decodes it: under guidance, if there is any, which may leave less room."""
        return led(self.target, None if self.chosen is None else self.chosen.guide)

    def run(
        self,
        prompts: list[list[int]],
        seed: int,
        limits: Limits,
        batching: Batching = Batching(),
    ) -> "Run":
        """Put one request for each prompt in line, all of the same seed: a text never depends on its neighbours.

        Raises BadInput for a prompt that is empty, longer than the context, or never fits the cache.
        """
        return Run(self, prompts, seed, limits, batching)


def open_session(
    model: Model,
    draft: Model | None,
    sampling: Sampling,
    opening: Opening,
    *,
    method: str | None = None,
    verifier: str | None = None,
    policy: str | None = None,
    prefix_mb: float = 0.0,
    store: DraftStore | None = None,
    warps: Sequence[Warp] | None = None,
    constraint: Constraint[Any] | Description | None = None,
    guidance: Guidance = Guidance(),  # noqa: B008  (frozen)
    logprobs: Logprobs | None = None,
) -> Session:
    """Load what is needed and compose; without a `method` the draft model decodes if there is one.

    store: what earlier runs taught the drafter, which this one goes on with.
    prefix_mb: megabytes of prompts' beginnings that the target keeps for other prompts; beside `Batching.cache_mb`.
    warps: in place of the settings of the sampler, the first acts first.
    constraint: what may come next, or a description of it (`constraints.grammar`).
    guidance: what leads the target, if anything; a draft model is not led.
    logprobs: which log-probabilities completions hold.

    Sampling settings that were not given come from the model's generation_config.json.
    """
    target, helper = opening.pair(model, draft, ["all" if method is None else method])
    if prefix_mb and target.model.prefixes is None:
        target = replace(target, model=replace(target.model, prefixes=Prefixes(prefix_mb)))
    guide = guidance.opened(opening)
    chosen = choose(sampling, target, target.defaults, warps=warps, constraint=constraint, guide=guide)
    composed = compose(
        default_method(target, helper) if method is None else method, target, helper, chosen.warp,
        constraint=chosen.constraint, guide=guide, verifier=verifier, policy=policy,
    )  # fmt: skip
    composed = telling(composed, logprobs, target.model.vocab)
    if store is not None:
        composed = store.recalling(composed, target)
    return Session(target, helper, composed, chosen.sampling, store, chosen, logprobs is not None)


@final
class Run:
    """Requests in flight. Iterate for the new text of those that took part, by prompt, a step at a time.

    batch: requests at a time, at most.

    A request whose context ends before `max_tokens` ends there, with the reason "length".
    """

    def __init__(
        self, session: Session, prompts: list[list[int]], seed: int, limits: Limits, batching: Batching
    ) -> None:
        self._session, target = session, session.led
        _refuse(prompts, target.model.context)
        self._laid = [Laid.of(prompt, target, limits.max_tokens) for prompt in prompts]
        refuse_cuts(self._laid, limits.stop, session.method)
        self._requests = [
            Request(
                one.prompt,
                seed,
                Stopping(one.room, target.ends, limits.stop, one.decode, one.ends_from),
                places=one.room if one.canvas else 0,
            )
            for one in self._laid
        ]
        self._places = {request: at for at, request in enumerate(self._requests)}
        self._texts = [TextStream(one.decode, limits.stop) for one in self._laid]
        self._steps = [0] * len(prompts)
        self.batch = _held(target, len(prompts), batching.batch)
        self._crank = Continuous(
            session.method.decoder,
            batch=self.batch,
            megabytes=batching.cache_mb,
            device=target.model.network.device,
        )
        for request in self._requests:
            self._crank.add(request)

    def __iter__(self) -> Iterator[dict[int, str]]:
        try:
            while self._crank.running or self._crank.waiting:
                yield {at: self._fed(at) for at in map(self._places.__getitem__, self._crank.step())}
        finally:
            self._remember()

    def _remember(self) -> None:
        """Keep what the drafter learnt, of runs that were cut short too."""
        session, learnt = self._session, learnt_by(self._crank)
        if session.store is not None and learnt is not None:
            session.store.save(*learnt, session.target)

    @property
    def ended(self) -> int:
        """How many requests have said all."""
        return len(self._requests) - len(self._crank.running) - len(self._crank.waiting)

    @property
    def completions(self) -> list[Completion]:
        """What each request has said so far."""
        return [self.completion(at) for at in range(len(self._requests))]

    def completion(self, at: int) -> Completion:
        """What one request has said so far."""
        output = self._requests[at].output
        told = output.logprobs if self._session.logprobs else None
        return Completion(
            self._texts[at].text, output.tokens, output.drafted, output.reason, self._steps[at], told,
            self._laid[at].filled(output.tokens, self._session.target.ends),
            [one.spelt(output.tokens, self._laid[at].decode) for one in output.suggestions],
        )  # fmt: skip

    def unfolding(self, at: int) -> tuple[Laid, Output]:
        """One request as it is decoded, and what has become final of it, which grows in place."""
        return self._laid[at], self._requests[at].output

    @property
    def pieces(self) -> list[bytes | None]:
        """What each id writes; None for special tokens. Raises BadInput as `models.spelling.token_bytes`."""
        tokenizer = self._session.target.tokenizer
        return [] if tokenizer is None else token_bytes(tokenizer)

    def _fed(self, at: int) -> str:
        """What a step that it took part in adds to a text."""
        self._steps[at] += 1
        output = self._requests[at].output
        return self._texts[at].feed(output.tokens, done=output.reason is not None)


def _refuse(prompts: list[list[int]], context: int) -> None:
    """What a model refuses when it starts, before any request runs."""
    for number, prompt in enumerate(prompts, 1):
        which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
        if not prompt:
            raise BadInput(f"{which} is empty: a language model needs at least one token to continue")
        if len(prompt) > context:
            raise BadInput(f"{which} has {len(prompt)} tokens, but the model's context holds {context}")


def _held(target: Loaded, prompts: int, batch: int) -> int:
    """How many of the prompts may run at a time: `batch`, or as many as exact mode holds, also while some leave."""
    rows, network = target.model.rows, target.model.network
    if rows is not None:
        for requests in range(2, min(batch, prompts) + 1):
            if not network.holds(rows, requests):
                return requests - 1
    return batch
