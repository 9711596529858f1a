"""A target with a method in place, and requests that run through it."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import final

from torch.nn import Module

from decant.apps.compose import compose, default_method, warp_of
from decant.apps.opening import Opening
from decant.apps.sampling import Sampling
from decant.decoders.generate import Output, right_pad, stream
from decant.decoders.method import Method
from decant.decoders.stopping import Reason, Stopping
from decant.decoders.text import TextStream
from decant.errors import BadInput
from decant.models.load import Loaded
from decant.noise import Noise

Model = str | PathLike[str] | Loaded | Module
"""A Hub id, a folder, `house:NAME`; or what is loaded already: by decant, or by transformers."""


@final
@dataclass(frozen=True, slots=True)
class Completion:
    """What a model said to one prompt.

    text:    without special tokens, cut in front of a stop string.
    tokens:  output ids, an end token included.
    drafted: whether each was guessed by a drafter.
    reason:  "stop" at an end token or a stop string, "length" at the number of tokens; None while it runs.
    steps:   target calls that it took.
    """

    text: str
    tokens: list[int]
    drafted: list[bool]
    reason: Reason | None
    steps: int

    @property
    def acceptance_length(self) -> float:
        """Mean tokens a target call, the target's own included."""
        return len(self.tokens) / self.steps if self.steps else 0.0


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
class Session:
    """A target with a method in place; `sampling` is what the method's warp was made from."""

    target: Loaded
    draft: Loaded | None
    method: Method
    sampling: Sampling

    def run(self, prompts: list[list[int]], seed: int, limits: Limits) -> "Run":
        """Start one request for each prompt, all of the same seed: a text never depends on its neighbours."""
        return Run(self, prompts, seed, limits)


def open_session(
    model: Model,
    draft: Model | None,
    sampling: Sampling,
    opening: Opening,
    *,
    method: str | None = None,
    verifier: str | None = None,
    policy: str | None = None,
) -> Session:
    """Load what is needed and compose; without a `method` the draft model decodes if there is one.

    Sampling settings that were not given come from the model's generation_config.json.
    """
    target, helper = opening.pair(model, draft, ["all" if method is None else method])
    settled = sampling.settled(target.defaults)
    chosen = default_method(helper) if method is None else method
    return Session(
        target, helper, compose(chosen, target, helper, warp_of(settled), verifier=verifier, policy=policy), settled
    )


@final
class Run:
    """Requests in flight. Iterate for the new text of each, a list a step; `completions` holds after the last.

    A request whose context ends before `max_tokens` ends there, with the reason "length".
    """

    def __init__(self, session: Session, prompts: list[list[int]], seed: int, limits: Limits) -> None:
        target, device = session.target, session.target.model.network.device
        decodes = [target.after(prompt) for prompt in prompts]
        stopping = [
            Stopping(min(limits.max_tokens, target.model.context - len(prompt)), target.ends, limits.stop, decode)
            for prompt, decode in zip(prompts, decodes, strict=True)
        ]
        noise = Noise.of([seed] * len(prompts), device)
        self._turns = stream(session.method.decoder, right_pad(prompts, device), noise, stopping)
        self._texts = [TextStream(decode, limits.stop) for decode in decodes]
        self._steps = [0] * len(prompts)
        self._outputs = [Output([], []) for _ in prompts]

    def __iter__(self) -> Iterator[list[str]]:
        running = range(len(self._texts))
        for turn in self._turns:
            self._outputs = turn.outputs
            new = [""] * len(self._texts)
            for request in running:
                output = turn.outputs[request]
                self._steps[request] += 1
                new[request] = self._texts[request].feed(output.tokens, done=output.reason is not None)
            running = [request for request in running if turn.outputs[request].reason is None]
            yield new

    @property
    def completions(self) -> list[Completion]:
        """What each request has said so far."""
        return [
            Completion(text.text, output.tokens, output.drafted, output.reason, steps)
            for text, output, steps in zip(self._texts, self._outputs, self._steps, strict=True)
        ]
