"""Prompt lookup: what followed the last few words the last time they were said.

Source: Saxena 2023, github.com/apoorvumang/prompt-lookup-decoding.
"""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.noise import Noise
from decant.numerics import append
from decant.protocols import Warp
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class PromptLookup:
    """Guess that an earlier occurrence of the last `ngram` tokens repeats itself; no model, no training.

    The longest match counts, down to `min_ngram`; of equal ones the one with the longest continuation, up to the
    depth asked for, and of those the latest. Where nothing matches nothing is guessed. Pays off where output quotes
    input: editing, summarising, code. O(ngram T) comparisons a request.

    Raises BadInput unless 1 <= min_ngram <= ngram.
    """

    ngram: int = 3
    min_ngram: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.min_ngram <= self.ngram:
            raise BadInput(
                f"prompt-lookup needs 1 <= min_ngram <= ngram, got min_ngram {self.min_ngram}, ngram {self.ngram}"
            )

    @property
    def taps(self) -> Taps:
        """It reads nothing of the target."""
        return Taps()

    def start(self, prompt_BT: Tensor, prefill: Scores) -> Tensor:
        """The tokens so far, right-padded."""
        return prompt_BT

    def draft(self, state: Tensor, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """A chain, ragged: each request's continuation ends where its text ends."""
        depth = shape.depth if shape.budget is None else min(shape.depth, shape.budget)
        width = state.shape[1]
        length_B1 = (state != PAD).sum(-1, keepdim=True)
        at_T = torch.arange(width, device=state.device)

        run_BT = self._matched(state, length_B1)
        behind_BT = (length_B1 - 1 - at_T).clamp(0, depth)  # tokens to copy; none behind the end itself
        # One number orders candidates by (matched, tokens to copy, how late).
        rank_BT = (run_BT * (depth + 1) + behind_BT) * width + at_T
        rank_BT = rank_BT.where((run_BT >= self.min_ngram) & (behind_BT > 0), -1)
        best_B1 = rank_BT.argmax(-1, keepdim=True)
        copy_BN = best_B1 + 1 + torch.arange(depth, device=state.device)
        real_BN = (copy_BN < length_B1) & (rank_BT.gather(1, best_B1) >= 0)
        tokens_BN = state.gather(1, copy_BN.clamp_max(width - 1)).where(real_BN, PAD)
        return Draft(tokens_BN[:, : int(real_BN.any(0).sum())])  # sync: columns that nobody fills cost a row each

    def observe(self, state: Tensor, draft: Draft, verdict: Verdict, scores: Scores) -> Tensor:
        """The tokens with what was committed."""
        return append(state, verdict.tokens_BC)

    def _matched(self, tokens_BT: Tensor, length_B1: Tensor) -> Tensor:
        """run_BT: how many tokens, up to `ngram`, end alike at each position and at the end of the text."""
        run_BT = torch.zeros_like(tokens_BT)
        alike_BT = torch.ones_like(tokens_BT, dtype=torch.bool)
        for back in range(min(self.ngram, tokens_BT.shape[1])):
            end_B1 = length_B1 - 1 - back
            wanted_B1 = tokens_BT.gather(1, end_B1.clamp_min(0))
            said_BT = pad(tokens_BT, (back, 0), value=PAD)[:, : tokens_BT.shape[1]]
            alike_BT = alike_BT & (said_BT == wanted_B1) & (end_B1 >= 0)
            run_BT = run_BT + alike_BT
        return run_BT
