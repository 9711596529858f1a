from functools import cache
from itertools import product
from math import prod

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.token_recycling import TokenRecycling
from decant.drafting.templates import likeliest
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.sequoia import PRIOR, Ranks, Sequoia
from decant.samplers.temperature import temperature
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, DraftShape, Path, Scores, Verdict
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection

CHANCES = [(0.6, 0.2, 0.1), (0.9, 0.05), (0.3, 0.3, 0.25, 0.1), (0.5,), (0.8, 0.15, 0.04), (0.4, 0.35, 0.2, 0.05)]
SCORES = Scores(torch.zeros(1, 0, 2))


def worth(paths: tuple[Path, ...], chances: tuple[float, ...]) -> float:
    """Tokens of a round: the target's own, and each node's chance to be on the accepted path."""
    return 1 + sum(prod(chances[rank] for rank in path) for path in paths)


@cache
def programme(nodes: int, depth: int, children: int, chances: tuple[float, ...]) -> float:
    """Sequoia's T(m, l, b): the best tree of m nodes, the root's included, of depth l, whose root has b children."""
    if children == 0:
        return 1.0 if nodes == 1 and depth >= 1 else -1.0
    if nodes < 2 or depth < 2 or children > len(chances):
        return -1.0
    best = -1.0
    for left in range(1, nodes):
        elders = programme(left, depth, children - 1, chances)
        youngest = max(programme(nodes - left, depth - 1, b, chances) for b in range(len(chances) + 1))
        if elders >= 0 and youngest >= 0:
            best = max(best, elders + chances[children - 1] * youngest)
    return best


@cache
def every_tree(nodes: int, width: int) -> frozenset[frozenset[Path]]:
    """All trees of so many nodes, the root not counted, whose children fill the ranks from the first on."""
    if nodes == 0:
        return frozenset({frozenset()})
    found = set()
    for tree in every_tree(nodes - 1, width):
        for above in ((), *tree):
            rank = sum(path[:-1] == above for path in tree)
            if rank < width:
                found.add(tree | {(*above, rank)})
    return frozenset(found)


@pytest.mark.parametrize("chances", CHANCES)
@pytest.mark.parametrize("nodes", range(1, 8))
def test_the_likeliest_paths_are_the_programme_and_the_best_of_all_trees(nodes: int, chances) -> None:
    """nodes counts the root, as the paper does."""
    for depth in (2, 3, 5):
        mine = worth(likeliest((chances,) * (depth - 1), nodes - 1), chances)
        brute = max(
            worth(tuple(tree), chances)
            for fewer in range(nodes)
            for tree in every_tree(fewer, len(chances))
            if max(map(len, tree), default=0) < depth
        )
        assert mine == pytest.approx(brute)
        fits = [programme(m, depth, b, chances) for m in range(1, nodes + 1) for b in range(len(chances) + 1)]
        assert mine == pytest.approx(max(fits))


def test_the_likeliest_paths_come_parents_and_elders_first() -> None:
    for chances, nodes in product(CHANCES, (1, 5, 30)):
        paths = likeliest((chances,) * 4, nodes)
        for at, path in enumerate(paths):
            assert path[:-1] in ((), *paths[:at])
            assert path[-1] == 0 or (*path[:-1], path[-1] - 1) in paths[:at]
    assert likeliest(((0.5,),) * 3, 9) == ((0,), (0, 0), (0, 0, 0)), "what a chain can hold"
    assert likeliest(((0.5,),) * 3, 0) == likeliest(((),), 3) == likeliest((), 3) == ()
    assert likeliest(((0.5, 0.4), (), (0.9,)), 9) == ((0,), (1,)), "nothing hangs from nothing"
    assert likeliest(((0.5, 0.1), (0.1, 0.1, 0.1), (0.9,)), 5) == ((0,), (1,), (0, 0), (0, 1), (0, 2))


def known(policy: Sequoia, rates: list[list[float]]) -> Ranks:
    """A state that has seen so much that the prior is forgotten."""
    tried_BK = torch.full((len(rates), policy.width), 1e6)
    return Ranks(tried_BK * torch.tensor([row + [0.0] * (policy.width - len(row)) for row in rates]), tried_BK)


def test_the_tree_has_the_least_seconds_a_token() -> None:
    target, draft = CostCurve((1, 8, 64), (1.0, 1.1, 4.0)), CostCurve((1, 8), (0.05, 0.08))
    policy = Sequoia(budget=14, depth=5, width=4, target_costs=target, draft_costs=draft)
    chances = (0.6, 0.2, 0.1, 0.04)

    def price(paths: tuple[Path, ...], batch: int) -> float:
        above = {path[:-1] for path in paths}
        levels = [sum(len(path) == depth for path in above) for depth in range(max(map(len, paths)))]
        drafting = sum(draft.seconds(batch * rows) for rows in levels)
        return (target.seconds(batch * (len(paths) + 1)) + drafting) / worth(paths, chances)

    for batch in (1, 4):
        shape = policy.shape(known(policy, [list(chances)] * batch))
        assert shape.template is not None
        every = [likeliest((chances,) * depth, nodes) for nodes in range(1, 15) for depth in range(1, 6)]
        assert price(shape.template, batch) == pytest.approx(min(price(paths, batch) for paths in every))
        assert shape.depth == max(map(len, shape.template))


def test_dear_rows_make_small_trees_and_dear_drafts_shallow_ones() -> None:
    def size(batch: int = 1, rates: tuple[float, ...] = (0.6, 0.2, 0.1), **costs: CostCurve) -> DraftShape:
        policy = Sequoia(budget=30, depth=6, width=3, **costs)
        return policy.shape(known(policy, [list(rates)] * batch))

    free = size()
    assert len(free.template or ()) == 30
    steep = CostCurve((1, 4, 64), (1.0, 1.05, 9.0))
    assert len(size(target_costs=steep).template or ()) < 8
    assert len(size(8, target_costs=steep).template or ()) < len(size(target_costs=steep).template or ())
    assert size(draft_costs=CostCurve((1,), (0.5,))).depth < free.depth
    assert size(rates=(0.99, 0.0, 0.0), target_costs=steep).template == tuple((0,) * d for d in range(1, 7))


def after(draft: Draft, nodes_BD: list[list[int]], policy: Sequoia) -> Ranks:
    last_B = torch.zeros(len(nodes_BD), dtype=torch.int64)
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor(nodes_BD), last_B)
    return policy.observe(policy.start(len(nodes_BD)), draft, verdict, SCORES)


def test_it_counts_the_rank_that_was_kept_on_every_node_of_the_path() -> None:
    tokens_BN = torch.tensor([[1, 2, 3, 4, 5]] * 3 + [[1, PAD, 3, PAD, PAD]])
    parents_BN = torch.tensor([[PAD, PAD, 0, 0, 1]] * 4)
    state = after(
        Draft(tokens_BN, parents_BN), [[0, 3], [1, PAD], [PAD, PAD], [0, 2]], Sequoia(budget=5, width=3, depth=2)
    )
    assert state.kept_BK.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [2, 0, 0]]
    assert state.tried_BK.tolist() == [[2, 2, 0], [2, 1, 0], [1, 1, 0], [2, 0, 0]]


def test_a_chain_has_only_first_children() -> None:
    state = after(Draft(torch.tensor([[1, 2, 3]])), [[0, 1, PAD]], Sequoia(width=2))
    assert (state.kept_BK.tolist(), state.tried_BK.tolist()) == ([[2, 0]], [[3, 0]])


def test_a_round_without_a_guess_teaches_and_forgets_nothing() -> None:
    policy = Sequoia(width=2)
    state = known(policy, [[0.5]])
    nothing = Draft.nothing(1)
    verdict = Verdict.of_chain(nothing.tokens_BN, torch.tensor([0]), torch.tensor([0]))
    same = policy.observe(state, nothing, verdict, SCORES)
    assert torch.equal(same.kept_BK, state.kept_BK)
    assert torch.equal(same.tried_BK, state.tried_BK)


def test_a_younger_child_is_worth_no_more_than_its_elder() -> None:
    policy = Sequoia(budget=3, depth=3, width=2)
    shape = policy.shape(known(policy, [[0.1, 0.9]]))
    assert shape.template == policy.shape(known(policy, [[0.1, 0.1]])).template


def test_it_learns_which_ranks_are_kept() -> None:
    """With a perfect draft only first children are kept: the tree becomes a chain."""
    target = MarkovLM.random(vocab=6, seed=0)
    flat_to_eight = CostCurve((1, 8, 64), (1.0, 1.0, 8.0))
    policy = Sequoia(budget=20, depth=8, width=4, target_costs=flat_to_eight)
    decoder = Speculative(target, DraftModel(target), Coupled(), policy, temperature(1.0), Unconstrained())
    state = decoder.start(torch.tensor([[0, 1]]), Noise.of([1]))
    first = policy.shape(state.pacing).template or ()
    for _ in range(60):
        state, _ = decoder.step(state)
    assert any(rank > 0 for path in first for rank in path), f"the prior {PRIOR} branches"
    assert policy.shape(state.pacing).template == tuple((0,) * depth for depth in range(1, 8))


@pytest.mark.parametrize("drafter", ["draft-model", "token-recycling"])
def test_coupled_text_is_plain_text(drafter: str) -> None:
    target, warp = MarkovLM.random(vocab=6, seed=0), temperature(0.7)
    guesser = DraftModel(target.blurred(1)) if drafter == "draft-model" else TokenRecycling(top=4)
    decoder = Speculative(target, guesser, Coupled(), Sequoia(12, 4, 3), warp, Unconstrained())
    plain = Autoregressive(target, warp, Unconstrained())
    if drafter == "draft-model":
        # One tree for all: what neighbours teach changes the tree, never the text.
        check_decoder(decoder, plain, max_tokens=12)
    check_law(decoder, target, warp, length=2)


def test_draws_follow_the_target() -> None:
    target, warp = MarkovLM.random(vocab=4, seed=3), temperature(1.0)
    drafter = DraftModel(target.blurred(4), coupled=False)
    check_law(Speculative(target, drafter, TreeRejection(), Sequoia(8, 3, 3), warp, Unconstrained()), target, warp)


@pytest.mark.parametrize("knobs", [{"budget": 0}, {"depth": 0}, {"width": 0}, {"memory": 0.0}, {"memory": 1.1}])
def test_messages(knobs: dict) -> None:
    with pytest.raises(BadInput, match="sequoia needs budget, depth and width >= 1 and 0 < memory <= 1, got budget"):
        Sequoia(**knobs)
