"""Settle as many places as cannot depend on each other by more than a bound.

What places of known entropies can have in common, their total correlation, is at most the sum of the entropies less the
largest. A place that settles beside others of no entropy is free.
Source: Ben-Hamu et al. 2025, arXiv:2505.24857 (EB-Sampler).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from torch import Tensor

from decant.diffusion import Outlook, Reveal, Turn, surest
from decant.errors import BadInput
from decant.noise import Noise


@final
@dataclass(frozen=True, slots=True)
class EntropyBound:
    """gamma: nats that the places of one step may have in common; at 0 one place settles a step, and what is certain.

    proxy: what places are ranked by: those of least entropy first, or those of the likeliest guess.
    """

    gamma: float = 0.1
    proxy: Literal["entropy", "confidence"] = "entropy"
    foresight: ClassVar[bool] = False
    takes_back: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.gamma >= 0:
            raise BadInput(f"gamma is a number of nats, 0 or more, got {self.gamma:g}")
        if self.proxy not in ("entropy", "confidence"):
            raise BadInput(f"proxy is entropy or confidence, got {self.proxy!r}")

    def start(self, canvas_BL: Tensor, noise: Noise) -> None:
        """Nothing is remembered."""

    def reveal(self, state: None, seen: Outlook, turn: Turn) -> tuple[Reveal, None]:
        """The longest beginning of the ranking whose entropies, less the largest, sum to `gamma` at most."""
        eligible_BL = turn.eligible_BL
        score_BL = seen.table(self._score(seen), -float("inf")).masked_fill(~eligible_BL, -float("inf"))
        order_BL = score_BL.argsort(dim=-1, descending=True, stable=True)
        # In float64, so that of one place the sum less the largest is 0, and what is beside others adds no error.
        nats_BL = seen.table(seen.entropy_N.double(), 0.0).gather(1, order_BL)
        shared_BL = nats_BL.cumsum(-1) - nats_BL.cummax(-1).values
        count_B = (shared_BL <= self.gamma).sum(-1)  # the left side never falls: these are a beginning
        return Reveal(seen.guess_BL, surest(score_BL, eligible_BL, count_B)), None

    def _score(self, seen: Outlook) -> Tensor:
        """score_N, in which trust counts as it does for `confidence_N`."""
        if self.proxy == "confidence":
            return seen.confidence_N
        return -seen.entropy_N if seen.trust_N is None else seen.trust_N.log() - seen.entropy_N
