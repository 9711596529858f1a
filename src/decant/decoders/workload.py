"""Many prompts, a batch after another: what is measured, and what is proved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from decant.decoders.generate import Output, Turn, generate, right_pad
from decant.decoders.stopping import Stopping
from decant.errors import BadInput
from decant.noise import Noise, sample_seed
from decant.protocols import AnyDecoder, Learner


@final
@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Prompts that are decoded as one batch.

    first: index of the first of them in the workload.
    """

    first: int
    prompt_BT: Tensor
    seeds: list[int]
    stopping: list[Stopping]

    def decode(self, decoder: AnyDecoder) -> Turn:
        """The last turn: every request has ended."""
        return generate(decoder, self.prompt_BT, Noise.of(self.seeds, self.prompt_BT.device), self.stopping)


@final
@dataclass(frozen=True, slots=True)
class Workload:
    """Prompts and how they are decoded. Prompt i has the seed `sample_seed(seed, i)`, whatever the batch.

    prompts:    token ids.
    max_tokens: how many new tokens at most.
    batch:      how many requests at a time; the last group may hold fewer.
    ends:       ids that end a text; none at all to ignore them.
    Raises BadInput where nothing could be decoded.
    """

    prompts: list[list[int]]
    max_tokens: int = 128
    batch: int = 1
    seed: int = 0
    ends: frozenset[int] = frozenset()
    device: str | torch.device = "cpu"

    def __post_init__(self) -> None:
        if not self.prompts:
            raise BadInput("there is no prompt to decode; give at least one")
        if self.batch < 1 or self.max_tokens < 1:
            raise BadInput(
                f"batch and max_tokens are 1 or more, got batch {self.batch} and max_tokens {self.max_tokens}"
            )
        empty = [index for index, prompt in enumerate(self.prompts) if not prompt]
        if empty:
            raise BadInput(f"prompt {empty[0]} is empty: a language model needs at least one token to continue")

    def seed_of(self, prompt: int) -> int:
        """The seed of one prompt."""
        return sample_seed(self.seed, prompt)

    def groups(self, max_tokens: int | None = None) -> list[Group]:
        """All prompts, `batch` at a time; at most `max_tokens` each where fewer than the workload's are wanted."""
        stopping = Stopping(min(self.max_tokens, max_tokens or self.max_tokens), self.ends)
        return [
            Group(
                first,
                right_pad(rows, self.device),
                [self.seed_of(first + row) for row in range(len(rows))],
                [stopping] * len(rows),
            )
            for first in range(0, len(self.prompts), self.batch)
            for rows in [self.prompts[first : first + self.batch]]
        ]

    def decode(self, decoder: AnyDecoder) -> Iterator[tuple[Group, list[Output]]]:
        """Each group with its outputs; a drafter that learns takes what it learnt from one to the next."""
        for group in self.groups():
            turn = group.decode(decoder)
            decoder = warmed(decoder, turn.state)
            yield group, turn.outputs


def warmed(decoder: AnyDecoder, state: Any) -> AnyDecoder:
    """The decoder of the next group, after it has decoded one to `state`."""
    return decoder.warmed(state) if isinstance(decoder, Learner) else decoder
