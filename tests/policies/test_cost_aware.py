"""What cost-aware believes of trees, and what it may lose. Chains: test_policies.py."""

from itertools import pairwise

import pytest
import torch

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.drafters.token_recycling import TokenRecycling
from decant.noise import Noise
from decant.policies.cost_aware import CostAware, Estimate
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, Scores, Verdict
from decant.verifiers.coupled import Coupled

SCORES = Scores(torch.zeros(1, 0, 2))
FLAT, STEEP = CostCurve((1, 64), (1.0, 1.0)), CostCurve((1, 4, 64), (1.0, 1.5, 20.0))
TREE = Draft(
    torch.tensor([[1, 2, 3, 4, 5, 6, 7, 8]]), torch.tensor([[PAD, PAD, PAD, PAD, 0, 0, 1, 4]])
)  # eight nodes, three deep


def judged(policy: CostAware, state: Estimate, draft: Draft, nodes: list[int]) -> Estimate:
    verdict = Verdict.of_path(draft.tokens_BN, torch.tensor([nodes], dtype=torch.int64), torch.tensor([0]))
    return policy.observe(state, draft, verdict, SCORES)


def test_it_counts_the_rows_of_trees() -> None:
    """Two of three levels are kept every time: worth it by the path's rows, not by the tree's."""
    bend = CostCurve((1, 4, 9), (1.0, 1.0, 4.0))
    policy = CostAware(target_costs=bend, most=3)
    tree, chain = policy.start(1), policy.start(1)
    for _ in range(20):
        tree = judged(policy, tree, TREE, [0, 4, PAD])
        chain = judged(policy, chain, Draft(torch.tensor([[1, 2, 3]])), [0, 1, PAD])
    assert torch.equal(tree.rate_B, chain.rate_B)
    assert (tree.nodes_B.item(), chain.nodes_B.item()) == (8, 0)
    assert policy.shape(chain).depth == 3
    assert policy.shape(tree).depth == 0
    assert CostAware(target_costs=FLAT, most=3).shape(tree).depth == 3


def test_the_size_of_trees_is_remembered_while_there_are_none() -> None:
    policy = CostAware()
    state = judged(policy, policy.start(1), TREE, [0, 4, PAD])
    smaller = Draft(TREE.tokens_BN[:, :4], TREE.parents_BN[:, :4])  # type: ignore[index]
    assert judged(policy, state, smaller, [0]).nodes_B.item() == pytest.approx(0.7 * 8 + 0.3 * 4)
    assert judged(policy, state, Draft.nothing(1), []).nodes_B.item() == 8
    assert judged(policy, state, Draft(torch.tensor([[1, 2]])), [0, PAD]).nodes_B.item() == 0


def rounds_between_retries(policy: CostAware, turns: int) -> list[int]:
    """Guesses are refused whenever they are made."""
    state, asked = policy.start(1), []
    for turn in range(turns):
        depth = policy.shape(state).depth
        draft = Draft(torch.ones(1, depth, dtype=torch.int64))
        verdict = Verdict.of_chain(draft.tokens_BN, torch.tensor([0]), torch.tensor([0]))
        state = policy.observe(state, draft, verdict, SCORES)
        asked += [turn] if depth else []
    return [later - earlier for earlier, later in pairwise(asked)]


def test_each_retry_in_vain_doubles_the_wait_up_to_a_bound() -> None:
    waits = rounds_between_retries(CostAware(target_costs=CostCurve((1, 2), (1.0, 1.4)), retry=5, lost=1.0), 600)
    while waits[0] == 1:
        waits = waits[1:]
    assert waits == [6, 11, 21, 41, *[81] * len(waits[4:])]
    assert len(waits) > 6


def test_the_first_retry_with_a_drafter_of_unknown_size_is_small() -> None:
    policy = CostAware(target_costs=STEEP, retry=3, lost=1.0)
    refused = torch.full((1,), 50.0)
    unknown = Estimate(torch.zeros(1), refused, torch.tensor([9.0]), *torch.zeros(2, 1))
    assert policy.shape(unknown).budget == 2
    tree = Estimate(torch.zeros(1), refused, torch.tensor([9.0]), torch.zeros(1), torch.tensor([8.0]))
    assert policy.shape(tree).budget is None
    assert policy.shape(tree).depth == 2


def test_a_dear_retry_waits_longer() -> None:
    dear = CostCurve((1, 2, 3), (1.0, 2.0, 3.0))
    waits = rounds_between_retries(CostAware(target_costs=dear, retry=5, lost=0.05), 200)
    assert min(waits) == 1 + 2 / 0.05


def test_guesses_that_pay_again_end_the_waiting() -> None:
    policy = CostAware(target_costs=CostCurve((1, 2, 64), (1.0, 1.3, 3.0)), retry=4, lost=1.0)
    state = policy.start(1)
    refused = Draft(torch.tensor([[1, 2]]))
    for _ in range(12):
        state = judged(policy, state, refused, [PAD, PAD])
    for _ in range(4):
        assert policy.shape(state).depth == 0
        state = judged(policy, state, Draft.nothing(1), [])
    assert policy.shape(state).depth == 2
    state = judged(policy, state, refused, [PAD, PAD])
    assert state.missed_B.item() > 0
    for _ in range(9):
        state = judged(policy, state, refused, [0, 1])
    assert policy.shape(state).depth > 0
    assert state.missed_B.item() == 0


def test_a_request_that_gets_no_guesses_does_not_wake_the_others() -> None:
    policy = CostAware(target_costs=STEEP, retry=3, lost=1.0)
    state = Estimate(torch.zeros(3), torch.full((3,), 50.0), torch.tensor([0.0, 90.0, 0.0]), *torch.zeros(2, 3))
    assert policy.shape(state).depth == 0
    waited = Estimate(torch.zeros(3), torch.full((3,), 50.0), torch.tensor([4.0, 90.0, 0.0]), *torch.zeros(2, 3))
    assert policy.shape(waited).depth == 2


LM = MarkovLM.random(vocab=60, seed=0, spread=1.0)  # flat laws: nothing can be guessed
CURVES = {
    "flat, then steep": CostCurve((1, 8, 64), (1.0, 1.2, 9.0)),
    "steep": CostCurve((1, 64), (1.0, 16.0)),
    "very steep": CostCurve((1, 64), (1.0, 64.0)),
}
DRAFTERS = {"a perverse draft": DraftModel(MarkovLM(-LM.logits_UVV)), "token-recycling": TokenRecycling()}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("batch", [1, 8])
def test_where_nothing_can_be_guessed_little_is_lost(drafter: str, curve: str, batch: int) -> None:
    """By the curves: 200 rounds with guesses that never pay cost at most 5 % more a token than plain decoding."""
    target, draft = CURVES[curve], CostCurve((1, 64), (0.3, 0.6)) if drafter == "a perverse draft" else None
    policy = CostAware(target_costs=target, draft_costs=draft)
    decoder = Speculative(LM, DRAFTERS[drafter], Coupled(), policy, temperature(1.0), Unconstrained())
    state = decoder.start(torch.tensor([[0, 1, 2, 0, 1]]).expand(batch, -1), Noise.of(list(range(batch))))
    spent, said = 0.0, 0
    for _ in range(200):
        shape = policy.shape(state.pacing)
        guess = decoder.drafter.draft(state.drafting, shape, decoder.warp, state.noise, state.context)
        spent += target.seconds(batch + int((guess.tokens_BN != PAD).sum()))
        spent += shape.depth * draft.seconds(batch) if draft else 0.0
        state, step = decoder.step(state)
        said += int((step.tokens_BC != PAD).sum())
    slower = spent / said / (target.seconds(batch) / batch)
    assert slower < 1.05, f"{slower:.3f}"
