"""Several chains side by side, each drawn independently from the root on.

Source: Sun et al. 2023, arXiv:2310.15141 (the drafts of SpecTr).
"""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar, final

from decant.errors import BadInput
from decant.types import Draft, DraftShape, Path, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class Chains:
    """`chains` chains of `depth` guesses that share nothing but the root, every time.

    Two of them may say the same: that is what makes them independent, and what the verifier k-seq counts on.
    Raises BadInput for a depth below 0 or fewer than one chain.
    """

    chains: int = 4
    depth: int = 4

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.chains < 1 or self.depth < 0:
            raise BadInput(
                f"chains needs chains >= 1 and depth >= 0, got chains {self.chains}, depth {self.depth}; to guess "
                f"nothing take the method plain"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same shape."""
        return DraftShape(self.depth, template=_abreast(self.chains, self.depth), siblings="independent")

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@cache
def _abreast(chains: int, depth: int) -> tuple[Path, ...]:
    """Breadth first, so that a budget cuts all chains alike."""
    return tuple((chain, *(0,) * below) for below in range(depth) for chain in range(chains))
