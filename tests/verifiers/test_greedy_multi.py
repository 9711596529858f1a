"""Greedy multi-drafts are accepted as often as any verifier could. The law is in tests/laws."""

import pytest
import torch

from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft
from decant.verifiers.greedy_multi import GreedyMulti
from decant.verifiers.rejection import Rejection

DRAWS = 40_000
P = torch.tensor([0.45, 0.3, 0.05, 0.2])
Q = torch.tensor([0.2, 0.3, 0.4, 0.1])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))


def siblings(width: int, **changes) -> Draft:
    """The likeliest width - 1 tokens and one drawn from the rest, all children of the root."""
    best_W = Q.topk(width - 1).indices
    rest_V = Q.index_fill(0, best_W, 0.0)
    last_B1 = torch.multinomial(rest_V.expand(DRAWS, -1), 1, generator=torch.Generator().manual_seed(0))
    tokens_BN = changes.get("tokens_BN", torch.cat([best_W.expand(DRAWS, -1), last_B1], 1))
    laws_BMV = torch.cat([Q.expand(DRAWS, 1, -1), torch.zeros(DRAWS, width, 4)], 1)
    return Draft(tokens_BN, torch.full_like(tokens_BN, PAD), laws_BMV, "greedy_multi")


def verdict_of(draft: Draft):
    return GreedyMulti().verify(draft, P.expand(DRAWS, draft.tokens_BN.shape[1] + 1, -1), NOISE)


def close_to(expected: float):
    return pytest.approx(expected, abs=4 * (expected * (1 - expected) / DRAWS) ** 0.5)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_it_accepts_as_often_as_is_possible(width: int) -> None:
    best_W = Q.topk(width - 1).indices
    rest_V = Q.index_fill(0, best_W, 0.0)
    free, drawn = P[best_W].sum(), torch.minimum(P, rest_V / rest_V.sum()).index_fill(0, best_W, 0.0).sum()
    verdict = verdict_of(siblings(width))
    assert float((verdict.accepted_B > 0).float().mean()) == close_to(float(free + drawn))
    assert_distributed_as(verdict.tokens_BC[:, 0], P, "the first token")


def test_a_chain_is_rejection() -> None:
    target = MarkovLM.random(4, 0)
    laws_BMV = torch.full((DRAWS, 3, 4), 0.25)
    tokens_BN = torch.randint(4, (DRAWS, 3), generator=torch.Generator().manual_seed(1))
    context = MarkovContext(torch.zeros(DRAWS, 1, dtype=torch.int64))
    target_BMV = target.score(context, Draft(tokens_BN)).logits_BMV.softmax(-1)
    ours = GreedyMulti().verify(Draft(tokens_BN, None, laws_BMV, "greedy_multi"), target_BMV, NOISE)
    plain = Rejection().verify(Draft(tokens_BN, None, laws_BMV, "independent"), target_BMV, NOISE)
    assert torch.equal(ours.tokens_BC, plain.tokens_BC)
    assert torch.equal(ours.nodes_BC, plain.nodes_BC)


def test_without_the_drawn_child_the_target_simply_draws() -> None:
    draft = siblings(3)
    cut = siblings(3, tokens_BN=draft.tokens_BN.masked_fill(torch.tensor([False, False, True]), PAD))
    verdict = verdict_of(cut)
    assert float((verdict.accepted_B > 0).float().mean()) == close_to(float(P[Q.topk(2).indices].sum()))
    assert_distributed_as(verdict.tokens_BC[:, 0], P, "the first token")


def test_a_draft_without_its_last_child_s_place_would_be_biased() -> None:
    """Why the last child must be the drawn one: a certain guess in its place passes for a draw."""
    draft = siblings(3)
    cut = Draft(draft.tokens_BN[:, :2], draft.parents_BN[:, :2], draft.laws_BMV[:, :3], "greedy_multi")
    with pytest.raises(AssertionError, match="not the law that was promised"):
        assert_distributed_as(verdict_of(cut).tokens_BC[:, 0], P, "the first token")


def test_the_last_child_stands_last() -> None:
    swapped = siblings(3, tokens_BN=siblings(3).tokens_BN.flip(1))
    with pytest.raises(AssertionError, match="not the law that was promised"):
        assert_distributed_as(verdict_of(swapped).tokens_BC[:, 0], P, "the first token")


def test_a_certain_child_is_walked_to_its_end() -> None:
    """Root; children 0 (certain) and 1 (drawn); below node 0 a drawn 2. A certain target says 0, 2, 3."""
    laws_BMV = torch.tensor([[[0.4, 0.3, 0.2, 0.1]] * 3])
    draft = Draft(torch.tensor([[0, 1, 2]]), torch.tensor([[PAD, PAD, 0]]), laws_BMV, "greedy_multi")
    target_BMV = torch.nn.functional.one_hot(torch.tensor([[0, 2, 0, 3]]), 4).float()
    verdict = GreedyMulti().verify(draft, target_BMV, Noise.of([0]))
    assert verdict.tokens_BC.tolist() == [[0, 2, 3]]
    assert verdict.nodes_BC.tolist() == [[0, 2, PAD]]
