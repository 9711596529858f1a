"""Training on a share of the texts: the fewer are left, the more the teacher counts.

The subset is random, class by class; no score beats that once a teacher that saw everything is distilled from. The
straight line of the weight is a choice, to be fitted on validation; the paper's values are not verified.
Source: Ben-Baruch et al. 2024, arXiv:2403.07854.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from decant.distill.texts import Text
from decant.errors import BadInput

TEMPERATURE: Final = 4.0  # of the distance that goes with it


@final
@dataclass(frozen=True, slots=True)
class Pruned:
    """fraction: of the texts that stay. lowest, highest: the teacher's weight where all stay, and where none would."""

    fraction: float
    lowest: float = 0.5
    highest: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1 or not 0 <= self.lowest <= self.highest <= 1:
            raise BadInput(f"fraction lies in (0, 1], and 0 <= lowest <= highest <= 1: {self}")

    @property
    def alpha(self) -> float:
        """The share of the distance to the teacher; cross-entropy has the rest."""
        return self.highest - (self.highest - self.lowest) * self.fraction

    def kept(self, texts: Sequence[Text]) -> list[Text]:
        """In their order; of each domain its share, up to half a text. A smaller fraction keeps a part of what a larger
        one keeps. Raises BadInput where none would stay."""
        domains: dict[int, list[int]] = {}
        for place, text in enumerate(texts):
            domains.setdefault(text.domain, []).append(place)
        stay: list[int] = []
        for domain, places in sorted(domains.items()):
            rng = random.Random(f"{self.seed} {domain}")
            stay += rng.sample(places, len(places))[: math.floor(len(places) * self.fraction + 0.5)]
        if not stay:
            raise BadInput(f"{self.fraction} of {len(texts)} texts is none; raise the fraction")
        return [texts[place] for place in sorted(stay)]
