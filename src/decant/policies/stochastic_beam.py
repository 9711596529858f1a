"""A beam search whose beams are drawn: whole paths without replacement, by the Gumbel numbers of their tokens.

Source: Jeon et al. 2024, arXiv:2402.14160 (RSD-S); stochastic beam search: Kool et al. 2019, arXiv:1903.06059.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor

from decant.drafting.growth import Children, Level, ascending
from decant.errors import BadInput
from decant.types import PAD, Draft, DraftShape, Scores, Taps, Verdict


@final
@dataclass(frozen=True, slots=True)
class StochasticBeam:
    """`width` beams, `depth` levels, every time; each level keeps the `width` best children of all beams.

    Siblings are draws without replacement, tried in the order in which they were drawn. Where guesses are coupled to
    the target's draws the beams are the likeliest paths, without chance of their own.
    Raises BadInput for a depth below 0 or a width below 1.
    """

    width: int = 4
    depth: int = 5

    taps: ClassVar[Taps] = Taps()

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 0:
            raise BadInput(
                f"stochastic-beam needs width >= 1 and depth >= 0, got width {self.width}, depth {self.depth}; to "
                f"guess nothing take the method plain"
            )

    def start(self, batch: int) -> None:
        """Nothing to remember."""

    def shape(self, state: None) -> DraftShape:
        """The same rule of growth."""
        budget = self.width * self.depth
        return DraftShape(self.depth, self.width, budget, growth=Beams(self.width), siblings="without_replacement")

    def observe(self, state: None, draft: Draft, verdict: Verdict, scores: Scores) -> None:
        """Nothing to remember."""


@final
@dataclass(frozen=True, slots=True, eq=False)
class Perturbed:
    """Of the rows that come: logp_BL of their paths, and lead_BL, that with a Gumbel number, the largest that any path
    through the row may have. there_BN: which nodes there are."""

    logp_BL: Tensor
    lead_BL: Tensor
    there_BN: Tensor


@final
@dataclass(frozen=True, slots=True)
class Beams:
    """The growth. The Gumbel numbers of a row's children are drawn given that the largest is the row's own lead, so the
    best `width` leads of a level are `width` paths without replacement. Which of a row's slots are kept depends on
    leads alone, never on what the tokens say."""

    width: int

    def within(self, nodes: int, depth: int) -> "Beams":
        """Fewer beams: each has a node on every level."""
        return Beams(min(self.width, max(1, nodes // max(1, depth))))

    def start(self, batch: int, device: torch.device) -> Perturbed:
        """Nothing bounds the root."""
        zero_B1 = torch.zeros(batch, 1, dtype=torch.float64, device=device)
        return Perturbed(zero_B1, zero_B1, torch.empty(batch, 0, dtype=torch.bool, device=device))

    def grow(self, state: Perturbed, level: Level) -> tuple[Perturbed, Children]:
        """The best children of all beams, which are the next beams."""
        level = replace(level, apart=True)  # leads of two rows are compared
        tokens_BLW = level.children(self.width)
        at_BLW = tokens_BLW.clamp_min(0)
        logp_BLW = state.logp_BL[..., None] + level.chance_BLV.gather(-1, at_BLW).double().log()
        lead_BLW = logp_BLW
        if not level.coupled:
            lead_BLW = state.logp_BL[..., None] + level.race_BLV.gather(-1, at_BLW).double()
            if state.there_BN.shape[1]:
                lead_BLW = truncated(lead_BLW, state.lead_BL)
        lead_BLW = lead_BLW.where(tokens_BLW != PAD, -torch.inf)
        sorted_BC = lead_BLW.flatten(1).sort(dim=1, descending=True, stable=True)
        lead_BC, at_BC = (part_BC[:, : self.width] for part_BC in sorted_BC)
        there_BC = lead_BC > -torch.inf
        first = state.there_BN.shape[1]
        place_C = torch.arange(first, first + there_BC.shape[1], device=there_BC.device)
        children = Children(
            tokens_BLW.flatten(1).gather(1, at_BC).where(there_BC, PAD),
            (level.rows_BL.gather(1, at_BC // tokens_BLW.shape[2]) - 1).where(there_BC, PAD),
            place_C.expand_as(at_BC).where(there_BC, PAD),
        )
        there_BN = torch.cat([state.there_BN, there_BC], 1)
        return Perturbed(logp_BLW.flatten(1).gather(1, at_BC), lead_BC, there_BN), children

    def kept(self, state: Perturbed) -> Tensor:
        """All that there are: a law may hold fewer tokens than there are beams."""
        return ascending(state.there_BN)


def truncated(lead_XW: Tensor, most_X: Tensor) -> Tensor:
    """The same Gumbel numbers given that the largest of each row, which comes first, is `most`; in the same order.

    -log(exp(-most) - exp(-largest) + exp(-lead)), in the form that neither overflows nor cancels.
    Source: Kool et al. 2019, arXiv:1903.06059.
    """
    most_X1, largest_X1 = most_X[..., None], lead_XW[..., :1]
    v_XW = most_X1 - lead_XW + torch.log1p(-(lead_XW - largest_X1).exp())
    return most_X1 - v_XW.clamp_min(0) - torch.log1p((-v_XW.abs()).exp())
