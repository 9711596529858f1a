"""The law of policies."""

import torch

from decant.protocols import Policy, State
from decant.types import PAD, Draft, DraftShape, Scores, Verdict, join_rows, select_rows


def check_policy(policy: Policy[State], *, rounds: int = 12) -> None:
    """Possible shapes whatever happened, the same for the same history, and a state whose requests come and go."""
    state = policy.start(3)
    for turn in range(rounds):
        shape = policy.shape(state)
        _check_possible(shape)
        assert policy.shape(state) == shape, "asking for a shape must not change the state"
        draft, verdict = _outcome(turn, shape)
        scores = Scores(torch.zeros(3, draft.tokens_BN.shape[1] + 1, 4))
        after = policy.observe(state, draft, verdict, scores)
        assert policy.shape(state) == shape, "observing must not change the old state"
        assert policy.shape(policy.observe(state, draft, verdict, scores)) == policy.shape(after), "observing is pure"
        state = after
    mixed = join_rows(select_rows(state, torch.tensor([2, 0])), policy.start(1))
    _check_possible(policy.shape(mixed))
    back = join_rows(select_rows(state, torch.tensor([0])), select_rows(state, torch.tensor([1, 2])))
    assert policy.shape(back) == policy.shape(state), "requests that leave and return must find what they left"


def _check_possible(shape: DraftShape) -> None:
    assert shape.depth >= 0, f"a draft cannot have depth {shape.depth}"
    assert shape.width >= 1, f"a draft cannot have width {shape.width}"
    assert shape.budget is None or shape.budget >= 0, f"a draft cannot have {shape.budget} nodes"
    assert 0 <= shape.stop_below <= 1, f"{shape.stop_below} is not a probability"


def _outcome(turn: int, shape: DraftShape) -> tuple[Draft, Verdict]:
    """Sweeps, refusals, ragged chains, trees and rounds without a guess, in turn; one token of the target's follows."""
    depth = min(max(shape.depth, 1), 6)
    tokens_BN = torch.ones(3, depth, dtype=torch.int64)
    last_B = torch.zeros(3, dtype=torch.int64)
    kind = turn % 5
    if kind == 0:
        return Draft(tokens_BN), Verdict.of_chain(tokens_BN, torch.tensor([depth] * 3), last_B)
    if kind == 1:
        return Draft(tokens_BN), Verdict.of_chain(tokens_BN, torch.tensor([0, 1, depth]), last_B)
    if kind == 2:
        tokens_BN[1] = PAD
        tokens_BN[2, 1:] = PAD
        return Draft(tokens_BN), Verdict.of_chain(tokens_BN, torch.tensor([depth, 0, 1]), last_B)
    if kind == 3:
        none = Draft.nothing(3)
        return none, Verdict.of_chain(none.tokens_BN, last_B, last_B)
    tree_BN, parents_BN = torch.tensor([[1, 2, 3]] * 3), torch.tensor([[PAD, PAD, 0]] * 3)
    nodes_BD = torch.tensor([[0, 2], [1, PAD], [PAD, PAD]])
    return Draft(tree_BN, parents_BN), Verdict.of_path(tree_BN, nodes_BD, last_B)
