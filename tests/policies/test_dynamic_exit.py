from dataclasses import dataclass

import pytest
import torch

from decant.errors import BadInput
from decant.policies.dynamic_exit import EVERY, PRIOR, DynamicExit, Shadows
from decant.testing.exits import MarkovExits
from decant.testing.markov import MarkovLM
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Taps, Verdict, join_rows, select_rows

LM = MarkovLM.random(vocab=5, seed=0)
FOUR = MarkovExits.beneath(LM, layers=4)


@dataclass(frozen=True)
class Told:
    """Exits whose state of layer l is what they would have said, and how sure they would have been."""

    layers: int = 3

    def share(self, exit: int) -> float:
        return exit / self.layers

    def shadow(self, hidden_XF, exits):
        pairs_XE2 = hidden_XF.unflatten(-1, (len(exits), 2))
        return pairs_XE2[..., 0].long(), pairs_XE2[..., 1]


def known(*rates: float) -> Shadows:
    """One request whose exits have such rates, for all the prior says."""
    tried_B = torch.tensor([1e6])
    kept_BE = torch.tensor([rates]) * 1e6
    return Shadows(tried_B, kept_BE, kept_BE * 0.9, (tried_B[:, None] - kept_BE) * 0.3, torch.zeros(1).long())


def tokens_per_layer(rate: float, exit: int, depth: int, layers: int) -> float:
    """The card's formula, and its limit where every guess stands."""
    tokens = depth + 1 if rate == 1 else (1 - rate ** (depth + 1)) / (1 - rate)
    return tokens / (depth * exit + layers)


@pytest.mark.parametrize("seed", range(30))
def test_the_choice_is_the_best_by_brute_force(seed: int) -> None:
    layers = 2 + seed % 7
    rates = (
        torch.rand(layers - 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).sort()[0].tolist()
    )
    rates[-1] = 1.0 if seed % 5 == 0 else rates[-1]
    policy = DynamicExit(MarkovExits((LM,) * layers), most=9)
    worth_EG = policy.worth(torch.tensor([rates], dtype=torch.float64))
    best = {(e, g): tokens_per_layer(rates[e - 1], e, g, layers) for e in range(1, layers) for g in range(10)}
    for (exit, depth), worth in best.items():
        assert worth_EG[exit - 1, depth] == pytest.approx(worth * layers, rel=1e-5)
    exit, depth = max(best, key=best.__getitem__)
    shape = policy.shape(known(*rates))
    assert (shape.depth, shape.exit) == ((depth, exit) if depth else (0, None))


def test_an_exit_that_is_always_right_is_followed_to_the_end() -> None:
    shape = DynamicExit(FOUR, most=7).shape(known(0.2, 1.0, 1.0))
    assert (shape.exit, shape.depth) == (2, 7)


def test_exits_that_are_never_right_are_not_taken() -> None:
    assert DynamicExit(FOUR).shape(known(0.0, 0.0, 0.0)) == DraftShape(0)


def test_measured_costs_count_rows() -> None:
    steep = CostCurve((1, 64), (1.0, 64.0))  # every row costs a pass: no guess pays
    assert DynamicExit(FOUR).shape(known(0.5, 0.9, 0.95)).depth > 0
    assert DynamicExit(FOUR, target_costs=steep).shape(known(0.5, 0.9, 0.95)) == DraftShape(0)
    bend = CostCurve((1, 4, 64), (1.0, 1.0, 16.0))
    alone, crowd = known(0.9, 0.9, 0.9), join_rows(*[known(0.9, 0.9, 0.9)] * 2)
    policy = DynamicExit(FOUR, target_costs=bend)
    assert policy.shape(alone).depth > policy.shape(crowd).depth


def told(*layers: list[tuple[int, float]]) -> Scores:
    """One request's rows of two layers; the target says 3, 3, 3 ..."""
    hidden_BMF = torch.tensor(layers).permute(1, 0, 2).flatten(1)[None]
    logits_BMV = torch.zeros(1, hidden_BMF.shape[1], 5).index_fill(-1, torch.tensor([3]), 1.0)
    return Scores(logits_BMV, hidden_BMF, layers=(1, 2))


SURE, WRONG = (3, 0.9), (4, 0.2)
CHAIN = Draft(torch.tensor([[3, 4, 3]]))


def after(scores: Scores, accepted: int, policy: DynamicExit | None = None, state: Shadows | None = None) -> Shadows:
    policy = policy or DynamicExit(Told())
    verdict = Verdict.of_chain(CHAIN.tokens_BN, torch.tensor([accepted]), torch.tensor([3]))
    return policy.observe(state or policy.start(1), CHAIN, verdict, scores)


def test_rows_behind_the_first_mismatch_do_not_count() -> None:
    """Layer 1 is right, wrong, right, right; layer 2 wrong, right, right, wrong. The second guess was refused."""
    scores = told([SURE, WRONG, SURE, SURE], [WRONG, SURE, SURE, WRONG])
    one = after(scores, accepted=1)
    assert one.tried_B.tolist() == [2]
    assert one.kept_BE.tolist() == [[1, 1]]
    assert after(scores, accepted=3).kept_BE.tolist() == [[3, 2]]
    assert after(scores, accepted=0).kept_BE.tolist() == [[1, 0]]


def test_older_rounds_fade() -> None:
    policy = DynamicExit(Told(), decay=0.5)
    state = after(told([SURE] * 4, [WRONG] * 4), 3, policy)
    state = after(told([WRONG] * 4, [SURE] * 4), 1, policy, state)
    assert state.tried_B.tolist() == [4 / 2 + 2]
    assert state.kept_BE.tolist() == [[2, 2]]
    assert state.sure_BE[0].tolist() == pytest.approx([0.5 * 4 * 0.9, 2 * 0.9])
    assert state.unsure_BE[0].tolist() == pytest.approx([2 * 0.2, 0.5 * 4 * 0.2])


def test_without_a_draft_shadows_are_cast_now_and_then() -> None:
    policy, scores = DynamicExit(Told()), told([SURE], [WRONG])
    state, tried = policy.start(1), []
    for _ in range(2 * EVERY):
        nothing = Draft.nothing(1)
        verdict = Verdict.of_chain(nothing.tokens_BN, torch.tensor([0]), torch.tensor([3]))
        state = policy.observe(state, nothing, verdict, scores)
        tried.append(float(state.tried_B))
    assert [at + 1 for at in range(2 * EVERY) if tried[at] > (tried[at - 1] if at else 0)] == [1, 1 + EVERY]
    assert int(after(told([SURE] * 4, [WRONG] * 4), 3, policy, state).quiet_B) == 0


def test_the_threshold_lies_halfway_between_right_and_wrong() -> None:
    state = after(told([SURE, WRONG, SURE, (4, 0.4)], [SURE] * 4), 3)
    assert state.threshold_BE[0].tolist() == pytest.approx([(0.9 + 0.3) / 2, 0.0])
    policy = DynamicExit(FOUR)
    assert policy.shape(known(0.9, 0.9, 0.9)).stop_below == pytest.approx(0.6)


def test_a_path_through_a_tree_is_followed() -> None:
    tree = Draft(torch.tensor([[1, 3, 2, 3]]), torch.tensor([[PAD, PAD, 1, 1]]))
    verdict = Verdict.of_path(tree.tokens_BN, torch.tensor([[1, 3]]), torch.tensor([3]))
    scores = told([SURE, WRONG, SURE, WRONG, SURE], [WRONG, SURE, WRONG, SURE, WRONG])
    policy = DynamicExit(Told())
    state = policy.observe(policy.start(1), tree, verdict, scores)
    assert (state.tried_B.tolist(), state.kept_BE.tolist()) == ([3], [[3, 0]])


def test_requests_are_counted_apart() -> None:
    policy, scores = DynamicExit(Told()), told([SURE] * 4, [WRONG] * 4)
    two = Scores(scores.logits_BMV.expand(2, -1, -1), scores.hidden_BMD.expand(2, -1, -1), layers=(1, 2))
    chain = Draft(CHAIN.tokens_BN.expand(2, -1))
    verdict = Verdict.of_chain(chain.tokens_BN, torch.tensor([0, 2]), torch.tensor([3, 3]))
    state = policy.observe(policy.start(2), chain, verdict, two)
    assert state.kept_BE.tolist() == [[1, 0], [3, 0]]
    assert select_rows(state, torch.tensor([1])).tried_B.tolist() == [3]


def test_a_plain_step_teaches_as_well() -> None:
    policy = DynamicExit(Told())
    verdict = Verdict.of_chain(torch.empty(1, 0, dtype=torch.int64), torch.tensor([0]), torch.tensor([3]))
    state = policy.observe(policy.start(1), Draft.nothing(1), verdict, told([SURE], [WRONG]))
    assert (state.tried_B.tolist(), state.kept_BE.tolist()) == ([1], [[1, 0]])


def test_it_starts_hopeful_and_reads_the_layers_that_it_may_take() -> None:
    policy = DynamicExit(MarkovExits((LM,) * 9), stride=3)
    assert policy.rungs == (3, 6)
    assert policy.taps == Taps(layers=(3, 6))
    assert torch.allclose(policy.start(2).rate_BE, torch.full((2, 2), PRIOR))
    assert policy.shape(policy.start(2)).exit == 3
    assert DynamicExit(MarkovExits((LM,))).shape(policy.start(1)) == DraftShape(0), "one layer leaves no exit"


@pytest.mark.parametrize("wrong", [{"most": -1}, {"decay": 0.0}, {"decay": 1.1}, {"stride": 0}])
def test_it_refuses_what_it_cannot_be(wrong) -> None:
    with pytest.raises(BadInput, match="dynamic-exit needs most >= 0"):
        DynamicExit(FOUR, **wrong)
