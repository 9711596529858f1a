"""DRY, "don't repeat yourself": what would lengthen a repetition loses the more the longer that already is.

Source: p-e-w 2024, github.com/oobabooga/text-generation-webui/pull/5677.
"""

import math
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from decant.errors import BadInput
from decant.numerics import append, echoes, latest
from decant.types import Draft, Scores, Verdict

LONGEST: Final = 50  # tokens of a repetition that count, as in text-generation-webui: the price has long been final
DEAREST: Final = 1e30  # nats: a float32 that is still finite, so that nothing is forbidden


@final
@dataclass(frozen=True, slots=True)
class DRY:
    """A token that followed the row's last n tokens before, n as long as possible, loses
    multiplier * growth ** (n - allowed_length) nats where n >= allowed_length.

    multiplier:     nats; 0 changes nothing.
    growth:         how many times dearer each further token makes it.
    allowed_length: the shortest repetition, in tokens, that costs something to lengthen; at most 50.
    breakers:       ids over which no repetition reaches, and which cost nothing themselves: line ends, quotation marks.
    window:         how many tokens count, the latest; None: all, the prompt too.

    The state is the text, or its window. O(M T) comparisons a step. Raises BadInput for a value out of range.
    """

    multiplier: float = 0.8
    growth: float = 1.75
    allowed_length: int = 2
    breakers: tuple[int, ...] = ()
    window: int | None = None

    def __post_init__(self) -> None:
        if not (self.multiplier >= 0 and math.isfinite(self.multiplier)):
            raise BadInput(f"dry's multiplier must be finite and at least 0, got {self.multiplier}; 0 changes nothing")
        if not (self.growth >= 1 and math.isfinite(self.growth)):
            raise BadInput(f"dry's base must be finite and at least 1, got {self.growth}; 1 makes no length dearer")
        if not 1 <= self.allowed_length <= LONGEST:
            raise BadInput(f"dry's allowed_length must lie in [1, {LONGEST}], got {self.allowed_length}; 2 is usual")
        if self.window is not None and self.window < 1:
            raise BadInput(f"dry's window must hold at least 1 token, got {self.window}; None keeps all")

    def start(self, prompt_BT: Tensor) -> Tensor:
        """The text so far, right-padded."""
        return prompt_BT

    def adjust(self, state: Tensor, draft: Draft, logits_BMV: Tensor) -> Tensor:
        """Of several repetitions that a token would lengthen the longest counts."""
        rows, vocab = logits_BMV.shape[1:]
        request_K, row_K, token_K, alike_K, back_K = echoes(state, draft, LONGEST, vocab, self.breakers)
        if self.window is not None:
            alike_K = alike_K.minimum(self.window - back_K)
        priced_K = (alike_K >= self.allowed_length) & ~torch.isin(token_K, token_K.new_tensor(self.breakers))
        price_K = logits_BMV.new_tensor(self._prices())[alike_K[priced_K] - self.allowed_length]
        at_K = ((request_K * rows + row_K) * vocab + token_K)[priced_K]
        logits_Z = logits_BMV.reshape(-1)
        return logits_Z.scatter_reduce(0, at_K, logits_Z[at_K] - price_K, "amin").view(logits_BMV.shape)

    def observe(self, state: Tensor, verdict: Verdict, scores: Scores) -> Tensor:
        """The text, or its window, with what was committed."""
        if self.window is not None and state.shape[1] > self.window:
            state = latest(state, (state >= 0).sum(-1), self.window)
        return append(state, verdict.tokens_BC)

    def _prices(self) -> list[float]:
        """In nats, of 0, 1 ... tokens more than `allowed_length`."""
        room = math.log(DEAREST) - math.log(max(self.multiplier, 1.0))
        return [
            self.multiplier * math.exp(min(more * math.log(self.growth), room))
            for more in range(LONGEST - self.allowed_length + 1)
        ]
