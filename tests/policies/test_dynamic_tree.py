from collections.abc import Callable

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.dynamic_tree import DynamicTree, Paths, Reranked
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_drafter, check_law
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, Scores
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=6, seed=0)
SMALL = LM.blurred(seed=1)


def drafted(policy: DynamicTree, warp, coupled: bool = True) -> Draft:
    drafter = DraftModel(SMALL, coupled)
    state = drafter.start(torch.tensor([[0, 1, 2], [3, PAD, PAD]]), Scores(torch.zeros(2, 0, 6)))
    return drafter.draft(state, policy.shape(None), warp, Noise.of([1, 2]), None)


def by_hand(text: list[int], depth: int, width: int, budget: int) -> list[tuple[int, ...]]:
    """The card's algorithm in plain Python, where the drafter's own law says how sure it is."""

    def law(path: tuple[int, ...]) -> torch.Tensor:
        before, last = [SMALL.vocab, *text, *path][-2:]
        return SMALL.logits_UVV[before, last].softmax(-1)

    every: list[tuple[float, int, tuple[int, ...]]] = []
    frontier: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    for _ in range(depth):
        new = [
            (logp + float(law(path)[token].log()), (*path, int(token)))
            for logp, path in frontier
            for token in law(path).topk(width).indices
        ]
        every += [(-logp, len(every) + at, path) for at, (logp, path) in enumerate(new)]
        frontier = sorted(new, key=lambda one: -one[0])[:width]
    return [path for _, _, path in sorted(sorted(every)[:budget], key=lambda one: one[1])]


@pytest.mark.parametrize(("depth", "width", "budget"), [(3, 2, 7), (4, 3, 12), (1, 4, 9), (5, 1, 3)])
def test_the_likeliest_paths_grow_and_the_likeliest_nodes_stay(depth: int, width: int, budget: int) -> None:
    draft = drafted(DynamicTree(depth, width, budget), greedy())
    for request, text in enumerate(([0, 1, 2], [3])):
        assert paths(draft)[request] == by_hand(text, depth, width, budget)


def test_a_budget_above_all_keeps_all() -> None:
    assert [len(said) for said in paths(drafted(DynamicTree(2, 2, 99), temperature(1.0)))] == [6, 6]


def test_of_equals_the_elder_is_kept() -> None:
    """A sure child is as likely as its parent: dropping by worth alone could take the parent."""
    logp_BN = torch.tensor([[0.0, -1.0, 0.0, 0.0, -torch.inf]])
    assert Reranked(2, 2).kept(Paths(logp_BN, logp_BN)).tolist() == [[0, 2]]
    assert Reranked(2, 9).kept(Paths(logp_BN, logp_BN)).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("bend", [1, 2, 5, 30])
def test_a_draft_keeps_as_many_nodes_as_pay(bend: int) -> None:
    """Rows are free up to a bend, then each costs as much as the first: by brute force over all numbers."""
    costs = CostCurve((1, bend, bend + 40), (1.0, 1.0, 41.0)) if bend > 1 else CostCurve((1, 41), (1.0, 41.0))
    logp_BN = torch.tensor([[-0.1, -2.0, -0.3, -0.2, -3.0], [-4.0, -5.0, -6.0, -7.0, -8.0]])
    for row, kept in zip(logp_BN, Reranked(2, 4, costs).kept(Paths(logp_BN, logp_BN)).tolist(), strict=True):
        order = row.argsort(descending=True).tolist()[:4]
        speed = [(1 + sum(float(row[at].exp()) for at in order[:n])) / costs.seconds(n + 1) for n in range(5)]
        best = max(range(5), key=speed.__getitem__)
        assert sorted(order[:best]) == [node for node in kept if node != PAD]


def test_where_rows_are_free_the_whole_budget_stays() -> None:
    flat = drafted(DynamicTree(3, 2, 7, CostCurve((1,), (1.0,))), greedy())
    assert paths(flat) == paths(drafted(DynamicTree(3, 2, 7), greedy()))


@pytest.mark.parametrize("coupled", [True, False])
@pytest.mark.parametrize("warp", [greedy, lambda: temperature(0.7)], ids=["greedy", "sampled"])
def test_it_is_a_draft(warp: Callable, coupled: bool) -> None:
    shape = DynamicTree(3, 3, 8).shape(None)
    check_drafter(DraftModel(SMALL, coupled), LM, warp(), shape, draws=4)


@pytest.mark.parametrize("warp", [greedy(), temperature(0.7)], ids=["greedy", "sampled"])
def test_coupled_text_is_plain_text(warp) -> None:
    decoder = Speculative(LM, DraftModel(SMALL), Coupled(), DynamicTree(3, 3, 8), warp, Unconstrained())
    check_decoder(decoder, Autoregressive(LM, warp, Unconstrained()), max_tokens=12)


def test_chosen_guesses_follow_the_target_as_fixed_ones() -> None:
    target = MarkovLM.random(vocab=4, seed=3)
    drafter, warp = DraftModel(target.blurred(4), coupled=False), temperature(1.0)
    check_law(Speculative(target, drafter, TreeRejection(), DynamicTree(2, 2, 4), warp, Unconstrained()), target, warp)


@pytest.mark.parametrize("knobs", [{"depth": -1}, {"width": 0}, {"budget": 0}])
def test_messages(knobs: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=r"dynamic-tree needs depth >= 0, width >= 1 and budget >= 1, got .* plain"):
        DynamicTree(**knobs)
