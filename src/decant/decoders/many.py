"""Many samples of one prompt: it is read once, the state behind it is repeated, and all samples run as one batch.

Each sample has a seed of its own and says what a request of that seed says alone (with a drafter whose verifier follows
the seed). A rule may end the search before every sample has ended: first-finish search waits for the first few.
Source: Brown et al. 2024, arXiv:2407.21787 (repeated sampling); Agarwal et al. 2025, arXiv:2505.18149 (first finish).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, final

import torch
from torch import Tensor

from decant.decoders.generate import Output, Turn, right_pad, stream
from decant.decoders.stopping import Stopping
from decant.errors import BadInput, IncompatibleParts
from decant.noise import Noise, sample_seed
from decant.protocols import AnyDecoder, Decoder
from decant.types import Step, select_rows

S = TypeVar("S")  # the decoder's state

Enough = Callable[[Sequence[Output]], bool]
"""Whether the samples, as far as they have come, are enough."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Copies(Generic[S]):
    """A decoder whose requests all begin where one has read its prompt. begun: the state of that one."""

    decoder: Decoder[S]
    begun: S

    @classmethod
    def of(cls, decoder: Decoder[S], prompt: list[int], device: torch.device | str = "cpu") -> "Copies[S]":
        """Read the prompt. Raises IncompatibleParts for a decoder whose state holds no `noise`."""
        with torch.inference_mode():
            begun = decoder.start(right_pad([prompt], device), Noise.of([0], device))
        if not hasattr(begun, "noise"):
            raise IncompatibleParts(
                f"{type(decoder).__name__} keeps no noise in its state, so one prompt cannot give it many samples; "
                f"take plain decoding or a drafter"
            )
        return cls(decoder, begun)

    def start(self, prompt_BT: Tensor, noise: Noise) -> S:
        """A copy a request; only the number of prompts is looked at."""
        begun: Any = select_rows(self.begun, torch.zeros(len(prompt_BT), dtype=torch.int64, device=prompt_BT.device))
        return replace(begun, noise=noise)

    def step(self, state: S) -> tuple[S, Step]:
        """The decoder's own."""
        return self.decoder.step(state)


def everything(outputs: Sequence[Output]) -> bool:
    """Never enough: every sample goes on to its end."""
    del outputs
    return False


def first_finish(count: int = 1, answers: Callable[[list[int]], bool] | None = None) -> Enough:
    """Enough as soon as `count` samples have finished (FFS-k). Raises BadInput for a count below 1.

    answers: whether finished tokens hold an answer; those that do not are not waited for, so that an empty text does
        not win.
    A sample that was cut at its limit has not finished.
    """
    if count < 1:
        raise BadInput(f"a first-finish search waits for 1 sample or more, got {count}")
    return lambda outputs: len(finished(outputs, answers)) >= count


def finished(outputs: Sequence[Output], answers: Callable[[list[int]], bool] | None = None) -> list[int]:
    """Indices of the samples that came to an end of their own (and answer), the shortest first."""
    done = [
        at
        for at, output in enumerate(outputs)
        if output.reason == "stop" and (answers is None or answers(output.tokens))
    ]
    return sorted(done, key=lambda at: len(outputs[at].tokens))


def seeds_of(seed: int, count: int) -> list[int]:
    """Of `count` samples; the first is the request itself. Raises BadInput for none."""
    if count < 1:
        raise BadInput(f"the number of samples is 1 or more, got {count}")
    return [sample_seed(seed, index) for index in range(count)]


def many(
    decoder: AnyDecoder,
    prompt: list[int],
    seeds: Sequence[int],
    stopping: Stopping,
    *,
    enough: Enough = everything,
    batch: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[Turn]:
    """A turn a step, with the samples begun so far, until all have ended or are enough.

    batch: samples at a time; None: all. With fewer, the next begin when all of these have ended, so that a rule which
        looks for the first sees only those that run. Steps count on, prefill is none of them.
    Raises IncompatibleParts for a decoder whose state cannot be repeated.
    """
    copies, size = Copies.of(decoder, prompt, device), batch or max(1, len(seeds))
    ended: list[Output] = []
    steps = 0
    for first in range(0, len(seeds), size):
        noise = Noise.of(list(seeds[first : first + size]), device)
        rows = len(noise.seed_B)
        running, spent = ended, 0
        for turn in stream(copies, right_pad([prompt] * rows, device), noise, [stopping] * rows):
            running, spent = turn.outputs, turn.steps
            so_far = Turn([*ended, *running], turn.state, steps + spent)
            yield so_far
            if enough(so_far.outputs):
                return
        ended, steps = [*ended, *running], steps + spent
