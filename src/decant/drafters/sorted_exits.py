"""Nested exits of the target guess: each token leaves at the first layer that is sure of it.

Whether a row goes deeper depends on its law, never on what is drawn from it, so that draws stay unbiased. Layers that
an earlier row has skipped are run when a later one needs what they write, many rows at a time (`models/early_exit.py`).
The paper trains a draft of a target's first layers with a loss at every exit (`distill/early_exit.py`); here they are
the target's own, which share its cache. The threshold is not the paper's: it could not be read.
Source: Kavehzadeh et al. 2024, arXiv:2407.01955 (S2D: sorted speculative decoding).
"""

from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from decant.drafting.growing import grown
from decant.errors import BadInput
from decant.noise import Noise
from decant.protocols import Exits, Warp
from decant.types import Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class SortedExits:
    """Draw from the first of `rungs` whose law, before any warp, gives some token `tau` or more; else from the last.

    rungs:   layers, ascending: "2-3-4"; "": 6, 9 and 12 of 32, in proportion. A shape that names an exit has its way.
    tau:     0 always leaves at the lowest rung, 1 hardly ever before the highest.
    exits:   the target's layers.
    coupled: draw with the target's own noise (see `growing.grown`).

    Raises BadInput for rungs that do not ascend within the target's layers, or a tau outside [0, 1].
    """

    exits: Exits
    rungs: str = ""
    tau: float = 0.8
    coupled: bool = True

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if not 0 <= self.tau <= 1:
            raise BadInput(f"sorted-exits needs a tau in [0, 1], got {self.tau}; 0 always leaves at the lowest rung")
        rungs, layers = self.ladder, self.exits.layers
        if list(rungs) != sorted(set(rungs)) or not all(1 <= rung <= layers for rung in rungs):
            raise BadInput(
                f"sorted-exits climbs over rungs from 1 to at most {layers}, such as 1-2, not {self.rungs!r}"
            )

    @property
    def ladder(self) -> tuple[int, ...]:
        """The rungs as numbers."""
        if not self.rungs:
            return tuple(sorted({-(-self.exits.layers * share // 32) for share in (6, 9, 12)}))
        try:
            return tuple(map(int, self.rungs.split("-")))
        except ValueError:
            raise BadInput(f"sorted-exits reads rungs such as 2-3-4, not {self.rungs!r}") from None

    def start(self, prompt_BT: Tensor, prefill: Scores) -> None:
        """Nothing to remember: what was read lies in the target's cache."""

    def draft(self, state: None, shape: DraftShape, warp: Warp, noise: Noise, context: object) -> Draft:
        """`context`: the target's own."""
        rungs = self.ladder if shape.exit is None else (shape.exit,)
        return grown(self.exits.guess(context, rungs, self._sure), shape, warp, noise, self.coupled)

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""

    def _sure(self, logits_RV: Tensor) -> Tensor:
        return logits_RV.float().softmax(-1).amax(-1) >= self.tau
