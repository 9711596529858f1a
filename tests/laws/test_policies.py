"""Every policy obeys the law of policies."""

from dataclasses import dataclass, field

import pytest
import torch

from decant.policies.additive import Additive
from decant.policies.chains import Chains
from decant.policies.confidence import Confidence
from decant.policies.cost_aware import CostAware
from decant.policies.dynamic_exit import DynamicExit
from decant.policies.dynamic_tree import DynamicTree
from decant.policies.dyspec import DySpec
from decant.policies.fixed import Fixed
from decant.policies.sequoia import Sequoia
from decant.policies.sparse_tree import SparseTree
from decant.policies.stochastic_beam import StochasticBeam
from decant.policies.template import Template
from decant.testing.exits import MarkovExits
from decant.testing.laws import check_policy
from decant.testing.markov import MarkovLM
from decant.types import CostCurve, DraftShape

EXITS = MarkovExits.beneath(MarkovLM.random(vocab=4, seed=0), layers=5)
POLICIES = [
    Fixed(),
    Fixed(depth=0),
    Fixed(depth=3, width=2, budget=6),
    Additive(),
    Additive(initial=1, up=9, down=9, most=4),
    CostAware(),
    CostAware(target_costs=CostCurve((1, 4, 8), (1.0, 1.1, 3.0)), draft_costs=CostCurve((1, 8), (0.2, 0.3))),
    CostAware(retry=2, target_costs=CostCurve((1, 2), (1.0, 9.0))),
    Chains(),
    DynamicTree(),
    DySpec(),
    Sequoia(budget=12, depth=4, width=3),
    Sequoia(budget=12, target_costs=CostCurve((1, 4, 8), (1.0, 1.1, 3.0)), draft_costs=CostCurve((1, 8), (0.2, 0.3))),
    SparseTree(budget=12, depth=3, width=3),
    SparseTree(budget=12, depth=3, width=3, target_costs=CostCurve((1, 4, 8), (1.0, 1.1, 3.0))),
    StochasticBeam(),
    Template(),
    Template("eagle", "fixed"),
    Confidence(),
    Confidence(depth=4, threshold=0.0),
    DynamicExit(EXITS),
    DynamicExit(EXITS, most=3, stride=2, target_costs=CostCurve((1, 4, 8), (1.0, 1.1, 3.0))),
]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
def test_policy(policy) -> None:
    check_policy(policy)


@dataclass(frozen=True)
class Grows:
    """A policy with a hook for one mistake."""

    seen: list[int] = field(default_factory=list)
    mistake: str = ""

    def start(self, batch):
        return torch.full((1 if self.mistake == "one state for all" else batch,), 5)

    def shape(self, state):
        if self.mistake == "counts its calls":
            self.seen.append(1)
        return DraftShape(int(state.min()) + len(self.seen))

    def observe(self, state, draft, verdict, scores):
        if self.mistake == "sinks below nothing":
            return state - 1
        if self.mistake == "writes into its state":
            state += 1
            return state
        return state


def test_the_toy_itself_is_right() -> None:
    check_policy(Grows())


@pytest.mark.parametrize(
    "mistake", ["counts its calls", "sinks below nothing", "writes into its state", "one state for all"]
)
def test_a_planted_bug_is_caught(mistake: str) -> None:
    with pytest.raises((AssertionError, IndexError)):
        check_policy(Grows(mistake=mistake))
