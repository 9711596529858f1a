"""Masked language models of which everything is known, or nothing can be guessed.

`TableLM` knows a joint law over whole answers, so that what it says of any canvas is exact and settling one place at a
time draws from the joint. `HashLM` says something arbitrary that depends on every place and on their order.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from decant.diffusion import Fresh
from decant.types import PAD


@final
@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """passes: how many there were. rows: places that were computed, over all of them."""

    passes: list[int]
    rows: list[int]

    def select(self, rows_R: Tensor) -> "Asked":
        """One count for all requests."""
        return self

    def join(self, other: "Asked") -> "Asked":
        """As `select`."""
        return self


@final
@dataclass(frozen=True, slots=True, eq=False)
class TableLM:
    """joint_YL: all answers (ids 0 ... vocab - 2; the mask is the last); probs_Y: theirs. The prompt says nothing."""

    answers_YL: Tensor
    probs_Y: Tensor
    vocab: int

    @property
    def mask(self) -> int:
        """The last id."""
        return self.vocab - 1

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> Asked:
        """Counts passes."""
        return Asked([0], [0])

    def predict(self, state: Asked, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[Asked, Tensor]:
        """Log of the exact conditional law of each wanted place; it stores nothing, so nothing is ever stale."""
        _count(state, fresh)
        rows = []
        for canvas_L, wanted_L in zip(canvas_BL, wanted_BL, strict=True):
            fits_Y = ((self.answers_YL == canvas_L) | (canvas_L == self.mask)).all(-1)
            weight_Y = self.probs_Y * fits_Y
            for place in wanted_L.nonzero()[:, 0].tolist():
                mass_V = torch.zeros(self.vocab, dtype=weight_Y.dtype)
                mass_V.index_add_(0, self.answers_YL[:, place], weight_Y)
                rows.append((mass_V / mass_V.sum()).log())
        return state, torch.stack(rows).float() if rows else torch.empty(0, self.vocab)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Nothing."""
        return 0


@final
@dataclass(frozen=True, slots=True, eq=False)
class HashLM:
    """sharpness: how far logits are apart. Stale places are not modelled: every pass sees the canvas as it is."""

    vocab: int
    sharpness: float = 4.0

    @property
    def mask(self) -> int:
        """The last id."""
        return self.vocab - 1

    def start(self, prompt_BT: Tensor, canvas_BL: Tensor) -> Any:
        """Counts passes; the prompt colours what is said."""
        return Coloured(prompt_BT, Asked([0], [0]))

    def predict(self, state: Any, canvas_BL: Tensor, fresh: Fresh, wanted_BL: Tensor) -> tuple[Any, Tensor]:
        """Normal numbers from a hash of prompt, canvas and place."""
        _count(state.asked, fresh)
        rows = []
        for prompt_T, canvas_L, wanted_L in zip(state.prompt_BT.tolist(), canvas_BL.tolist(), wanted_BL, strict=True):
            asked = [token for token in prompt_T if token != PAD]
            holds = [(place, token) for place, token in enumerate(canvas_L) if token != PAD]
            for place in wanted_L.nonzero()[:, 0].tolist():
                key = hashlib.sha256(repr((asked, holds, place)).encode()).digest()[:8]
                chance = torch.Generator().manual_seed(int.from_bytes(key, "little") % 2**63)
                logits_V = self.sharpness * torch.randn(self.vocab, generator=chance)
                logits_V[self.mask] = -torch.inf
                rows.append(logits_V)
        return state, torch.stack(rows) if rows else torch.empty(0, self.vocab)

    def cache_bytes(self, tokens: Sequence[int]) -> int:
        """Nothing."""
        return 0


@final
@dataclass(frozen=True, slots=True, eq=False)
class Coloured:
    """prompt_BT: of each request."""

    prompt_BT: Tensor
    asked: Asked


def _count(asked: Asked, fresh: Fresh) -> None:
    asked.passes[0] += 1
    asked.rows[0] += int(fresh.answer_BL.sum())
