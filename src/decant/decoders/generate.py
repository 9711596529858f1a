"""The crank: turn any decoder until every request has ended."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, final

import torch
from torch import Tensor

from decant.decoders.saying import Logprob, Suggestion, rows_of
from decant.decoders.stopping import Reason, Stopping
from decant.errors import ShapeError
from decant.noise import Noise
from decant.protocols import Decoder, State
from decant.types import PAD, select_rows


@final
@dataclass(slots=True)
class Output:
    """What one request has said so far.

    tokens:  output ids, an end token included.
    drafted: whether each was guessed by a drafter.
    reason:  why it ended; None while it runs.
    logprobs: what was thought of each, where the decoder was asked; else empty.
    suggestions: of a decoder that writes several drafts at a time, all of them, as they came.
    ahead:   by position, what is final behind a place that is still open.
    """

    tokens: list[int]
    drafted: list[bool]
    reason: Reason | None = None
    logprobs: list[Logprob] = field(default_factory=list)
    suggestions: list[Suggestion] = field(default_factory=list)
    ahead: dict[int, tuple[int, bool]] = field(default_factory=dict)

    def extend(
        self,
        tokens: list[int],
        positions: list[int],
        drafted: list[bool],
        logprobs: list[Logprob],
        suggestions: list[Suggestion],
        stopping: Stopping,
    ) -> None:
        """What a step gave, PAD left out: appended as far as nothing is open in front of it. Raises ShapeError for a
        position that was told before."""
        seen = len(self.tokens)
        for token, position, guessed in zip(tokens, positions, drafted, strict=True):
            if token != PAD:
                if position < seen or position in self.ahead:
                    raise ShapeError(f"a decoder told output position {position} twice; a step tells each once")
                self.ahead[position] = token, guessed
        while (found := self.ahead.pop(len(self.tokens), None)) is not None:
            self.tokens.append(found[0])
            self.drafted.append(found[1])
        self.tokens, self.reason = stopping.cut(self.tokens, seen)
        self.drafted = self.drafted[: len(self.tokens)]
        self.suggestions += suggestions
        self.logprobs = (self.logprobs + logprobs)[: len(self.tokens)]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """All requests after one more step. `outputs` are the same objects at every turn; they grow in place."""

    outputs: list[Output]
    state: Any
    steps: int


def stream(decoder: Decoder[State], prompt_BT: Tensor, noise: Noise, stopping: list[Stopping]) -> Iterator[Turn]:
    """A turn a step, until every request has ended; requests that have ended leave the batch.

    stopping: one for each request.
    """
    outputs = [Output([], []) for _ in stopping]
    with torch.inference_mode():
        state = decoder.start(prompt_BT, noise)
    running = list(range(len(outputs)))
    steps = 0
    while running:
        with torch.inference_mode():
            state, step = decoder.step(state)
            steps += 1
            for request, said in zip(running, rows_of(step), strict=True):
                outputs[request].extend(*said, stopping[request])
        yield Turn(outputs, state, steps)
        still = [row for row, request in enumerate(running) if outputs[request].reason is None]
        if 0 < len(still) < len(running):
            with torch.inference_mode():
                state = select_rows(state, torch.tensor(still, device=prompt_BT.device))
        running = [running[row] for row in still]


def generate(decoder: Decoder[State], prompt_BT: Tensor, noise: Noise, stopping: list[Stopping]) -> Turn:
    """The last turn of `stream`: every request has ended."""
    *_, last = stream(decoder, prompt_BT, noise, stopping)
    return last


def right_pad(rows: list[list[int]], device: torch.device | str = "cpu") -> Tensor:
    """tokens_BT from ragged lists of ids."""
    width = max(map(len, rows))
    return torch.tensor([row + [PAD] * (width - len(row)) for row in rows], dtype=torch.int64, device=device)
