import heapq

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.errors import BadInput
from decant.noise import Noise
from decant.policies.dyspec import DySpec, _slots
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.testing.laws import check_decoder, check_drafter, check_law
from decant.testing.laws.paths import paths
from decant.testing.markov import MarkovLM
from decant.types import PAD, Draft, DraftShape, Scores
from decant.verifiers.coupled import Coupled
from decant.verifiers.tree_rejection import TreeRejection

LM = MarkovLM.random(vocab=4, seed=3)
SMALL = LM.blurred(seed=4)
WARP = temperature(1.0)
PROMPT = [0, 1]


def drafted(shape: DraftShape, draws: int, warp=WARP, coupled: bool = False) -> Draft:
    drafter = DraftModel(SMALL, coupled)
    state = drafter.start(torch.tensor([PROMPT]).expand(draws, -1), Scores(torch.zeros(draws, 0, 4)))
    noise = Noise(torch.arange(draws), torch.zeros(draws, dtype=torch.int64))
    return drafter.draft(state, shape, warp, noise, None)


def law(path: tuple[int, ...]) -> list[float]:
    before, last = [*PROMPT, *path][-2:]
    return SMALL.logits_UVV[before, last].softmax(-1).tolist()


def popped(said: dict[tuple[int, ...], list[int]], nodes: int, least: float, depth: int) -> tuple[list, list[float]]:
    """The paper's heap, popped until the tree is full or worth no more; `said` are the draws of every node in order."""
    heap: list[tuple[float, tuple[int, ...], int]] = [(-1.0, (), 0)]
    tree, worths = [], []
    while heap and len(tree) < nodes:
        worth, path, rank = heapq.heappop(heap)
        left = 1 - sum(law(path)[token] for token in said.get(path, [])[:rank])
        if -worth <= least or len(path) == depth or rank == len(law(path)):
            continue
        token = said[path][rank]
        reach = -worth / left
        worths.append(-worth)
        tree.append((*path, token))
        heapq.heappush(heap, (-reach * law(path)[token], (*path, token), 0))
        heapq.heappush(heap, (-reach * (left - law(path)[token]), path, rank + 1))
    return tree, worths


def order_of(draft: Draft, request: int) -> dict[tuple[int, ...], list[int]]:
    children: dict[tuple[int, ...], list[int]] = {}
    for path in paths(draft)[request]:
        children.setdefault(path[:-1], []).append(path[-1])
    return children


@pytest.mark.parametrize("nodes", [1, 3, 6, 10])
def test_it_is_the_heap(nodes: int) -> None:
    """The tree of all paths tells what every node would have said next; the heap finds the smaller tree in it."""
    large = drafted(DySpec(budget=84, threshold=0.0, depth=3).shape(None), 40)
    small = drafted(DySpec(budget=nodes, threshold=0.0, depth=3).shape(None), 40)
    found = 0
    for request in range(40):
        said, mine = order_of(large, request), order_of(small, request)
        # A row's numbers come with its place in its level, which the size of the tree moves: only trees whose draws
        # agree can be compared.
        if any(said[path][: len(children)] != children for path, children in mine.items()):
            continue
        tree, worths = popped(said, nodes, 0.0, 3)
        assert worths == sorted(worths, reverse=True), "no slot is worth more than the one before"
        assert set(paths(small)[request]) == set(tree)
        found += 1
    assert found >= 5


def test_a_tree_has_as_many_nodes_as_asked() -> None:
    for nodes in (1, 4, 9, 20):
        draft = drafted(DySpec(budget=nodes, threshold=0.0, depth=3).shape(None), 6)
        assert (draft.tokens_BN != PAD).sum(-1).tolist() == [nodes] * 6


@pytest.mark.parametrize("least", [0.5, 0.2, 0.05])
def test_the_threshold_bounds_every_slot(least: float) -> None:
    """What the slots of a tree are worth, by its own draws, is above the threshold; and no slot beside it is."""
    draft = drafted(DySpec(budget=64, threshold=least, depth=3).shape(None), 20)
    for request in range(20):
        tree, worths = popped(order_of(draft, request), 64, least, 3)
        assert set(tree) == set(paths(draft)[request])
        assert min(worths) > least


def test_choosing_by_what_was_drawn_is_caught(monkeypatch) -> None:
    """Card 0.8, trap 2: a slot worth what its own token is likely to be drops the unlikely draws."""

    def by_token(reach_BL, level, tokens_BLW):
        _, reach_BLW = _slots(reach_BL, level, tokens_BLW)
        return reach_BLW, reach_BLW

    monkeypatch.setattr("decant.policies.dyspec._slots", by_token)
    drafter = DraftModel(SMALL, coupled=False)
    decoder = Speculative(LM, drafter, TreeRejection(), DySpec(3, 0.0, 2), WARP, Unconstrained())
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_law(decoder, LM, WARP)


@pytest.mark.parametrize("policy", [DySpec(6, 0.0, 3), DySpec(8, depth=3), DySpec(5, 0.3, 2)], ids=repr)
@pytest.mark.parametrize("warp", [WARP, chain(temperature(0.7), top_k(3))], ids=["T=1", "T=0.7, top 3"])
def test_draws_follow_their_law_and_the_text_the_target(policy, warp) -> None:
    drafter = DraftModel(SMALL, coupled=False)
    check_drafter(drafter, LM, warp, policy.shape(None))
    check_law(Speculative(LM, drafter, TreeRejection(), policy, warp, Unconstrained()), LM, warp)


@pytest.mark.parametrize("warp", [greedy(), temperature(0.7)], ids=["greedy", "sampled"])
def test_coupled_text_is_plain_text(warp) -> None:
    decoder = Speculative(LM, DraftModel(SMALL), Coupled(), DySpec(8, 0.0, 3), warp, Unconstrained())
    check_decoder(decoder, Autoregressive(LM, warp, Unconstrained()), max_tokens=12)


def test_nothing_is_drafted_to_no_depth() -> None:
    assert drafted(DySpec(depth=0).shape(None), 2).tokens_BN.shape == (2, 0)


@pytest.mark.parametrize("knobs", [{"budget": 0}, {"depth": -1}, {"threshold": 1.0}, {"threshold": -0.1}])
def test_messages(knobs: dict) -> None:
    with pytest.raises(BadInput, match=r"dyspec needs budget >= 1, depth >= 0 and a threshold in \[0, 1\), got "):
        DySpec(**knobs)
