"""Every growth obeys the law of growths, and the law sees what could be wrong with one."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from decant.drafting.growth import Children, Level, Static, ascending
from decant.noise import TARGET
from decant.policies.dynamic_tree import DynamicTree, Reranked
from decant.policies.dyspec import DySpec, Slots
from decant.policies.stochastic_beam import Beams, StochasticBeam
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.laws import check_growth
from decant.types import PAD, DraftShape

EVEN = DraftShape(2, width=2)
GROWTHS = [
    (Static.of(EVEN), replace(EVEN, siblings="without_replacement")),
    (Static.of(EVEN), replace(EVEN, siblings="independent")),
    (Reranked(3, 8), DynamicTree(depth=3, width=3, budget=8).shape(None)),
    (Reranked(1, 2), DynamicTree(depth=3, width=1, budget=2).shape(None)),
    (Reranked(9, 20), DynamicTree(depth=2, width=9, budget=20).shape(None)),
    (Slots(8, 0.0), DySpec(budget=8, threshold=0.0, depth=3).shape(None)),
    (Slots(12, 1 / 12), DySpec(budget=12, depth=4).shape(None)),
    (Slots(1, 0.5), DySpec(budget=1, threshold=0.5).shape(None)),
    (Beams(3), StochasticBeam(width=3, depth=3).shape(None)),
    (Beams(7), StochasticBeam(width=7, depth=2).shape(None)),
    (Beams(1), StochasticBeam(width=1, depth=4).shape(None)),
]
WARPS = {"greedy": greedy(), "sampled": temperature(0.7), "two tokens": top_k(2)}


def name_of(part: Any) -> str:
    return part.siblings or "" if isinstance(part, DraftShape) else repr(part)[:40]


@pytest.mark.parametrize("warp", WARPS)
@pytest.mark.parametrize(("growth", "shape"), GROWTHS, ids=name_of)
def test_growth(growth, shape: DraftShape, warp: str) -> None:
    check_growth(growth, shape, WARPS[warp])


@dataclass(frozen=True)
class Spoilt:
    """The growth of DySpec with one mistake."""

    mistake: str
    inner: Slots = Slots(8, 0.0)  # noqa: RUF009  (frozen)

    def within(self, nodes, depth):
        return self if self.mistake == "ignores the budget" else replace(self, inner=self.inner.within(nodes, depth))

    def start(self, batch, device):
        return self.inner.start(batch, device), torch.empty(batch, 0, dtype=torch.bool)

    def grow(self, state, level):
        if self.mistake == "looks at its neighbour":
            level = replace(level, logits_BLV=level.logits_BLV.roll(1, 0), law_BLV=level.law_BLV.roll(1, 0))
        after, new = self.inner.grow(state[0], level)
        if self.mistake == "children of nobody":
            new = replace(new, parents_BC=new.parents_BC + 1)
        if self.mistake == "evaluates what is not there":
            new = replace(new, next_BE=new.next_BE + new.tokens_BC.shape[1])
        if self.mistake == "evaluates twice":
            new = replace(new, next_BE=torch.cat([new.next_BE, new.next_BE], 1))
        if self.mistake == "uses the global generator":
            torch.rand(1)
        if level.depth_BL.max() == 0 and "draws" in self.mistake:
            new = self._spoilt(level, new)
        return (after, torch.cat([state[1], new.tokens_BC != PAD], 1)), new

    def kept(self, state):
        after, there_BN = state
        kept_BK = self.inner.kept(after)
        if self.mistake == "drops a parent":
            return kept_BK[:, 1:]
        if self.mistake == "keeps too much":
            return ascending(there_BN)
        if self.mistake == "drops unlikely draws":
            return ascending(there_BN & (kept_BK[..., None] == torch.arange(there_BN.shape[1])).any(1))
        return kept_BK

    def _spoilt(self, level, new):
        """Card 0.8: traps 2 and 3, among the children of the root."""
        law_BC = level.law_BLV[:, 0].gather(1, new.tokens_BC.clamp_min(0))
        if self.mistake == "tries likely draws first":
            return replace(new, tokens_BC=new.tokens_BC.gather(1, law_BC.argsort(-1, descending=True)))
        gone_BC = law_BC < 0.1
        gone_BE = gone_BC.gather(1, new.next_BE.clamp_min(0))
        next_BE = new.next_BE.masked_fill(gone_BE, PAD)
        return Children(new.tokens_BC.masked_fill(gone_BC, PAD), new.parents_BC, next_BE)


SHAPE = DySpec(budget=8, threshold=0.0, depth=3).shape(None)
MISTAKES = {
    "looks at its neighbour": "neighbours",
    "tries likely draws first": "not the law that was promised",
    "drops unlikely draws": "not the law that was promised|must not depend on chance",
    "children of nobody": "hangs from a row",
    "evaluates what is not there": "a node",
    "evaluates twice": "evaluated once",
    "uses the global generator": "global generator",
    "drops a parent": "its parent is kept",
    "keeps too much": "budget",
    "ignores the budget": "budget",
}


def test_the_wrapper_itself_is_right() -> None:
    check_growth(Spoilt(""), SHAPE, temperature(1.0))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with torch.random.fork_rng(), pytest.raises(AssertionError, match=MISTAKES[mistake]):
        check_growth(Spoilt(mistake), SHAPE, temperature(1.0))


@pytest.mark.parametrize(
    ("growth", "shape", "draws"),
    [(Slots(8, 0.0), SHAPE, 40_000), (Beams(3), StochasticBeam(width=3, depth=2).shape(None), 100_000)],
    ids=["slots", "beams"],
)
def test_rows_that_compete_with_shared_numbers_are_caught(growth, shape, draws: int, monkeypatch) -> None:
    """What one row draws decides how many children another gets: with one set of numbers that is a look at the draw."""

    def shared(level: Level) -> torch.Tensor:
        return level.noise.gumbel(level.law_BLV, level.depth_BL, TARGET if level.coupled else "draft")

    monkeypatch.setattr(Level, "race_BLV", property(shared))
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_growth(growth, shape, temperature(1.0), draws=draws)
