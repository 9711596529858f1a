"""Guess more after a clean sweep, less after a refusal.

Source: Gante 2023, huggingface.co/blog/assisted-generation (the heuristic schedule of transformers).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import pad

from decant.errors import BadInput
from decant.numerics import chain_parents, depths
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Additive:
    """A request's depth grows by `up` (to `most`) when all it wished for was kept, else shrinks by `down` (to 1).

    The state is one depth a request. A batch is drafted to the median of them: half would guess more, half less, and
    they share one forward. A round that drafted nothing for a request teaches nothing about it.
    Raises BadInput unless 1 <= initial <= most, up >= 0 and down >= 0.
    """

    initial: int = 5
    up: int = 2
    down: int = 1
    most: int = 16

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if not 1 <= self.initial <= self.most or self.up < 0 or self.down < 0:
            raise BadInput(
                f"additive needs 1 <= initial <= most, up >= 0 and down >= 0, got initial {self.initial}, "
                f"most {self.most}, up {self.up}, down {self.down}"
            )

    def start(self, batch: int) -> Tensor:
        """depth_B, all at `initial`; it stays on the host, where the next shape is needed."""
        return torch.full((batch,), self.initial)

    def shape(self, state: Tensor) -> DraftShape:
        """The median request's depth."""
        return DraftShape(int(state.median()))

    def observe(self, state: Tensor, draft: Draft, verdict: Verdict, scores: Scores) -> Tensor:
        """A draft deeper than a request's own wish is judged by that wish, so neighbours do not change the verdict."""
        parents_BN = chain_parents(draft.tokens_BN) if draft.parents_BN is None else draft.parents_BN
        depth_BN = depths(parents_BN).where(draft.tokens_BN != PAD, 0)
        offered_B = pad(depth_BN, (0, 1)).amax(-1)  # the extra column stands for "nothing"
        offered_B, accepted_B = offered_B.cpu(), verdict.accepted_B.cpu()  # sync: the next shape depends on them
        swept_B = accepted_B >= torch.minimum(state, offered_B)
        moved_B = torch.where(swept_B, (state + self.up).clamp_max(self.most), (state - self.down).clamp_min(1))
        return moved_B.where(offered_B > 0, state)
