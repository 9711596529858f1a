import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.token_recycling import TokenRecycling
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.template import Template
from decant.samplers.temperature import temperature
from decant.testing.laws import check_law
from decant.testing.markov import MarkovLM
from decant.types import Scores
from decant.verifiers.coupled import Coupled
from decant.verifiers.greedy_multi import GreedyMulti
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
WARP = temperature(1.0)


def test_branches_are_children_level_by_level() -> None:
    shape = Template("2-1-3").shape(None)
    assert shape.depth == 3
    third = [(first, 0, rank) for first in range(2) for rank in range(3)]
    assert shape.template == ((0,), (1,), (0, 0), (1, 0), *third)
    assert shape.siblings is None
    assert shape.branches


def test_the_tree_of_eagle_has_25_nodes_and_is_closed() -> None:
    paths = Template("eagle").shape(None).template
    assert paths is not None
    assert len(set(paths)) == 25
    assert {path[:-1] for path in paths} <= {(), *paths}
    assert all(path[-1] == 0 or (*path[:-1], path[-1] - 1) in paths for path in paths), "elder siblings are there"
    assert list(paths) == sorted(paths, key=len)


@pytest.mark.parametrize("siblings", ["without_replacement", "independent", "greedy_multi", "fixed"])
def test_siblings_are_drawn_as_asked(siblings) -> None:
    drafter = DraftModel(SMALL, coupled=False)
    state = drafter.start(torch.tensor([[0, 1]]), Scores(torch.zeros(1, 0, 4)))
    draft = drafter.draft(state, Template("2-2", siblings).shape(None), WARP, Noise.of([1]), None)
    assert draft.siblings == siblings
    assert (draft.laws_BMV is None) == (siblings == "fixed")


LAW_CASES = [
    ("3-2", None, TreeRejection()),
    ("2-2", "independent", TreeRejection()),
    ("2-2", "fixed", TreeRejection()),
    ("3-2", "greedy_multi", GreedyMulti()),
    ("2-2", None, Coupled()),
]


@pytest.mark.parametrize(("branches", "siblings", "verifier"), LAW_CASES)
def test_constant_branching_follows_the_target(branches: str, siblings, verifier) -> None:
    drafter = DraftModel(SMALL, coupled=verifier.seeded)
    check_law(Speculative(LM, drafter, verifier, Template(branches, siblings), WARP, Unconstrained()), LM, WARP)


def test_token_recycling_obeys_it() -> None:
    decoder = Speculative(LM, TokenRecycling(top=3), TreeRejection(), Template("3-2"), WARP, Unconstrained())
    check_law(decoder, LM, WARP)


@pytest.mark.parametrize("branches", ["", "3-", "3-0", "a", "3,2", "-1"])
def test_messages(branches: str) -> None:
    with pytest.raises(BadInput, match=r"branches are written like 3-2-1, whole numbers above 0, or eagle; got"):
        Template(branches)
    with pytest.raises(BadInput, match="make more than 4096 nodes; take fewer"):
        Template("90-90")
