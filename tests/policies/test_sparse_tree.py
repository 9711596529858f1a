from math import prod

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.token_recycling import TokenRecycling
from decant.drafting.templates import likeliest
from decant.errors import BadInput
from decant.policies.sparse_tree import Levels, SparseTree
from decant.samplers.temperature import temperature
from decant.testing.laws import check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, Scores, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection

STEEP = CostCurve((1, 4, 64), (1.0, 1.05, 9.0))


def known(policy: SparseTree, chances: list[list[float]], batch: int = 1, riders: float = 0.0) -> Levels:
    """A state that has seen so much that the prior is forgotten."""
    tried_BDK = torch.full((batch, policy.depth, policy.width), 1e6)
    return Levels(tried_BDK * torch.tensor(chances), tried_BDK, torch.full((batch,), riders))


CHANCES = [[0.7, 0.2, 0.04], [0.4, 0.2, 0.1], [0.1, 0.06, 0.02]]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("riders", [0, 6])
def test_the_size_is_the_one_with_the_most_tokens_a_second(batch: int, riders: int) -> None:
    policy = SparseTree(budget=20, depth=3, width=3, target_costs=STEEP)
    template = policy.shape(known(policy, CHANCES, batch, riders)).template
    assert template is not None

    def speed(nodes: int) -> float:
        paths = likeliest(tuple(map(tuple, CHANCES)), nodes)
        tokens = 1 + sum(prod(CHANCES[level][rank] for level, rank in enumerate(path)) for path in paths)
        return tokens / STEEP.seconds(batch * (nodes + 1 + riders))

    assert speed(len(template)) == pytest.approx(max(map(speed, range(1, 21))))
    assert template == likeliest(tuple(map(tuple, CHANCES)), len(template))


def test_free_rows_are_all_taken_and_riders_make_room_cheap() -> None:
    policy = SparseTree(budget=20, depth=3, width=3)
    assert len(policy.shape(known(policy, CHANCES)).template or ()) == 20
    bend = SparseTree(budget=20, depth=3, width=3, target_costs=CostCurve((1, 8, 64), (1.0, 1.0, 8.0)))
    sizes = [len(bend.shape(known(bend, CHANCES, riders=riders)).template or ()) for riders in (0, 4)]
    assert sizes == [7, 3], "up to the bend, riders and root included"


def test_levels_are_counted_apart() -> None:
    """The root's second child was kept, then that child's first."""
    policy = SparseTree(budget=6, depth=2, width=2)
    draft = Draft(torch.tensor([[1, 2, 3, 4, 5, PAD]]), torch.tensor([[PAD, PAD, 0, 1, 1, 1]]))
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor([[1, 3]]), torch.tensor([0]))
    state = policy.observe(policy.start(1), draft, verdict, Scores(torch.zeros(1, 7, 2)))
    assert state.kept_BDK.tolist() == [[[0, 1], [1, 0]]]
    assert state.tried_BDK.tolist() == [[[1, 1], [1, 1]]]
    assert state.riders_B.tolist() == [1], "one row held no guess"


def test_what_lies_outside_the_tables_is_not_counted() -> None:
    policy = SparseTree(budget=6, depth=1, width=1)
    draft = Draft(torch.tensor([[1, 2, 3]]), torch.tensor([[PAD, PAD, 0]]))
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor([[0, 2]]), torch.tensor([0]))
    state = policy.observe(policy.start(1), draft, verdict, Scores(torch.zeros(1, 4, 2)))
    assert (state.kept_BDK.tolist(), state.tried_BDK.tolist()) == ([[[1]]], [[[1]]])


@pytest.mark.parametrize(
    ("drafter", "verifier"),
    [("drawn", TreeRejection()), ("coupled", Coupled()), ("recycled", TreeRejection())],
    ids=["drawn", "coupled", "recycled"],
)
def test_the_text_follows_the_target(drafter: str, verifier) -> None:
    target, warp = MarkovLM.random(vocab=4, seed=3), temperature(1.0)
    guesser = TokenRecycling(top=3) if drafter == "recycled" else DraftModel(target.blurred(4), drafter == "coupled")
    check_law(Speculative(target, guesser, verifier, SparseTree(8, 3, 3), warp, Unconstrained()), target, warp)


@pytest.mark.parametrize("knobs", [{"budget": 0}, {"depth": 0}, {"width": 0}, {"memory": 0.0}, {"memory": 1.1}])
def test_messages(knobs: dict) -> None:
    with pytest.raises(
        BadInput, match="sparse-tree needs budget, depth and width >= 1 and 0 < memory <= 1, got budget"
    ):
        SparseTree(**knobs)
