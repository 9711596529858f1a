"""Trust an end of text less while little is settled: models that pad with ends are sure of those first.

The confidence of a place whose guess is an end is multiplied with a number that rises with what is settled. Guesses
stay what they are.
Source: Yang et al. 2025, arXiv:2509.23924 (EOSER, EOS early rejection).
"""

from collections.abc import Set
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from decant.diffusion import Outlook, Scope, Turn
from decant.errors import BadInput
from decant.types import PAD

EVEN: Final = 0.4
DOUBLING: Final = 0.01
"""The paper's gamma_min for equal steps, and for steps of 1, 2, 4 ..."""


@final
@dataclass(frozen=True, slots=True)
class EosRejection:
    """gamma_min, gamma_max: what an end is trusted in the first step and in the last; None: the paper's. block: places
    that are filled before the next ones; 0: the whole canvas is one. ascending: settle 1, 2, 4 ... places, as
    `Ascending` does. ends: ids that end a text. mask: the id of an open place."""

    mask: int
    ends: Set[int]
    gamma_min: float | None = None
    gamma_max: float = 1.0
    block: int = 0
    ascending: bool = False

    def __post_init__(self) -> None:
        if self.block < 0:
            raise BadInput(f"a block has at least one place, not {self.block}; 0 is the whole canvas")
        if not 0 <= self._least() <= self.gamma_max:
            raise BadInput(
                f"trust rises from gamma_min to gamma_max: 0 <= gamma_min <= gamma_max, got {self._least():g} and "
                f"{self.gamma_max:g}"
            )

    def start(self, canvas_BL: Tensor) -> Tensor:
        """count_B: places that are open in the beginning."""
        return (canvas_BL == self.mask).sum(-1)

    def scope(self, state: Tensor, canvas_BL: Tensor) -> Scope:
        """The block of the first open place."""
        open_BL = canvas_BL == self.mask
        number_L = torch.arange(canvas_BL.shape[1], device=canvas_BL.device) // (self.block or canvas_BL.shape[1])
        first_B = number_L.where(open_BL, len(number_L)).amin(-1)
        block_BL = (number_L == first_B[:, None]) & (canvas_BL != PAD)
        return Scope(block_BL, block_BL & open_BL)

    def turn(self, state: Tensor, scope: Scope, seen: Outlook) -> tuple[Turn, Tensor]:
        """What is open of the block, and how far each guess is trusted."""
        open_BL = seen.canvas_BL == self.mask
        left_B = open_BL.sum(-1)
        settled_B = state - left_B
        last_B = 4 * (settled_B + 1) > state  # of the doubling steps; see `Ascending`
        if self.ascending:
            whole_B = torch.frexp(state.double())  # a power of two below, times 1 to 2
            share_B = (2 * settled_B + 1) / torch.ldexp(torch.ones_like(whole_B.mantissa), whole_B.exponent - 1)
        else:
            share_B = settled_B.double().where(state > 1, 1.0) / (state - 1).clamp_min(1)
        gamma_B = self._least() + (self.gamma_max - self._least()) * share_B.clamp(0, 1)
        ends_N = torch.isin(seen.guess_N, torch.tensor(sorted(self.ends), dtype=torch.int64, device=seen.row_N.device))
        trust_N = gamma_B[seen.row_N].where(ends_N, 1.0).float()
        quota_B = (settled_B + 1).where(~last_B, left_B) if self.ascending else None
        return Turn(scope.block_BL & open_BL, quota_B, trust_N), state

    def _least(self) -> float:
        """gamma_min as it is used."""
        return self.gamma_min if self.gamma_min is not None else DOUBLING if self.ascending else EVEN
