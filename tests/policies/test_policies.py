"""Each policy by hand, and its messages. The laws are in tests/laws."""

import pytest
import torch

from decant.errors import BadInput
from decant.policies.additive import Additive
from decant.policies.confidence import Confidence
from decant.policies.cost_aware import CostAware, Estimate
from decant.policies.fixed import Fixed
from decant.types import PAD, CostCurve, Draft, DraftShape, Scores, Verdict

SCORES = Scores(torch.zeros(1, 0, 2))


def after(policy: Additive, depths: list[int], draft: Draft, accepted: list[int]) -> list[int]:
    """Depths after a round in which this many tokens of a chain were kept."""
    batch = len(depths)
    verdict = Verdict.of_chain(draft.tokens_BN, torch.tensor(accepted), torch.zeros(batch, dtype=torch.int64))
    return policy.observe(torch.tensor(depths), draft, verdict, SCORES).tolist()


def chain_of(*lengths: int) -> Draft:
    slots_N = torch.arange(max(lengths))
    return Draft(torch.where(slots_N < torch.tensor(lengths)[:, None], 1, PAD))


def test_fixed() -> None:
    policy = Fixed(depth=3, width=2, budget=7)
    assert policy.shape(policy.start(4)) == DraftShape(3, 2, 7)


def test_confidence_asks_the_drafter_to_look_at_its_law() -> None:
    policy = Confidence(depth=7, threshold=0.3)
    assert policy.shape(policy.start(1)) == DraftShape(7, stop_below=0.3)


def test_additive_grows_after_a_sweep_and_shrinks_after_a_refusal() -> None:
    assert after(Additive(), [5, 5], chain_of(5, 5), [5, 4]) == [7, 4]


def test_additive_stays_within_its_bounds() -> None:
    assert after(Additive(most=6), [5, 1], chain_of(5, 5), [5, 0]) == [6, 1]


def test_a_draft_deeper_than_the_wish_is_judged_by_the_wish() -> None:
    assert after(Additive(), [3, 8], chain_of(6, 6), [4, 5]) == [5, 7]


def test_a_short_draft_that_was_kept_is_a_sweep() -> None:
    assert after(Additive(), [5], chain_of(2), [2]) == [7]


def test_a_round_without_a_guess_teaches_nothing() -> None:
    assert after(Additive(), [5, 5], chain_of(0, 2), [0, 0]) == [5, 4]
    assert after(Additive(), [5], Draft.nothing(1), [0]) == [5]


def test_a_tree_is_as_deep_as_its_deepest_node() -> None:
    tree = Draft(torch.tensor([[1, 2, 3], [1, 2, PAD]]), torch.tensor([[PAD, PAD, 0]] * 2))
    verdict = Verdict.of_path(tree.tokens_BN, torch.tensor([[1, PAD], [1, PAD]]), torch.tensor([0, 0]))
    assert Additive().observe(torch.tensor([5, 5]), tree, verdict, SCORES).tolist() == [4, 7]


@pytest.mark.parametrize(("depths", "shape"), [([5], 5), ([1, 9, 4], 4), ([2, 8], 2)])
def test_a_batch_is_drafted_to_its_median(depths: list[int], shape: int) -> None:
    assert Additive().shape(torch.tensor(depths)).depth == shape


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(depth=-1), "depth -1, width 1, budget None; to guess nothing take the method plain"),
        (lambda: Fixed(width=0), "depth 5, width 0, budget None; to guess nothing take the method plain"),
        (lambda: Fixed(budget=-2), "depth 5, width 1, budget -2; to guess nothing take the method plain"),
        (lambda: Additive(initial=0), "got initial 0, most 16, up 2, down 1"),
        (lambda: Additive(initial=9, most=8), "got initial 9, most 8, up 2, down 1"),
        (lambda: Confidence(threshold=1.5), "got depth 10, threshold 1.5; 0 never stops early"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(BadInput) as raised:
        make()
    assert str(raised.value).endswith(message)


FLAT, STEEP = CostCurve((1, 64), (1.0, 1.0)), CostCurve((1, 2, 64), (1.0, 2.0, 64.0))


def settled(policy: CostAware, accepted: list[int], rounds: int = 30, depth: int = 4) -> Estimate:
    """What it believes after rounds in which so many of `depth` guesses were kept."""
    state = policy.start(len(accepted))
    draft = chain_of(*[depth] * len(accepted))
    verdict = Verdict.of_chain(draft.tokens_BN, torch.tensor(accepted), torch.zeros(len(accepted), dtype=torch.int64))
    for _ in range(rounds):
        state = policy.observe(state, draft, verdict, SCORES)
    return state


def test_cost_aware_estimates_the_rate_of_kept_guesses() -> None:
    rates = settled(CostAware(memory=1.0), [4, 2, 0], rounds=100).rate_B
    assert torch.allclose(rates, torch.tensor([1.0, 2 / 3, 0.0]), atol=0.02)


def test_cost_aware_guesses_as_far_as_it_pays() -> None:
    free, dear = CostAware(target_costs=FLAT), CostAware(target_costs=STEEP)
    assert free.shape(settled(free, [2])).depth == 8  # rows cost nothing: as deep as allowed
    assert dear.shape(settled(dear, [2])).depth == 0  # every row costs a pass
    slow_draft = CostAware(target_costs=FLAT, draft_costs=CostCurve((1,), (0.4,)))
    best = max(range(9), key=lambda k: (1 - (2 / 3) ** (k + 1)) / (1 + 0.4 * k))
    assert slow_draft.shape(settled(slow_draft, [2], rounds=200)).depth == best == 1
    assert CostAware(target_costs=FLAT, most=0).shape(free.start(2)).depth == 0


def test_cost_aware_counts_the_rows_of_the_whole_batch() -> None:
    bend = CostAware(target_costs=CostCurve((1, 8, 64), (1.0, 1.0, 8.0)))
    assert bend.shape(settled(bend, [3])).depth > bend.shape(settled(bend, [3] * 8)).depth == 0


def test_cost_aware_tries_again_after_a_while() -> None:
    policy = CostAware(target_costs=STEEP, retry=3, lost=1.0)
    state, nothing = settled(policy, [0]), Draft.nothing(1)
    verdict = Verdict.of_chain(nothing.tokens_BN, torch.tensor([0]), torch.tensor([0]))
    depths = []
    for _ in range(5):
        depths.append(policy.shape(state).depth)
        state = policy.observe(state, nothing, verdict, SCORES)
    assert depths == [0, 0, 0, 2, 2]


def test_a_cost_curve_is_read_between_and_behind_its_points() -> None:
    curve = CostCurve((1, 4, 8), (1.0, 4.0, 6.0))
    assert [curve.seconds(rows) for rows in (1, 2, 4, 6, 8, 16)] == [1.0, 2.0, 4.0, 5.0, 6.0, 10.0]
    assert CostCurve((1,), (2.0,)).seconds(9) == 2.0


@pytest.mark.parametrize("wrong", [{"most": -1}, {"memory": 0.0}, {"memory": 1.5}, {"retry": 0}, {"lost": 0.0}])
def test_cost_aware_refuses_what_it_cannot_be(wrong) -> None:
    with pytest.raises(BadInput, match="cost-aware needs"):
        CostAware(**wrong)
