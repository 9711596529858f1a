"""How much each verifier accepts, against the exact number, and the edges. The laws are in tests/laws.

Every rate is measured on 40,000 requests and must lie within four standard errors (at most 0.01) of the formula.
"""

import pytest
import torch

from decant.drafters.draft_model import DraftModel
from decant.noise import Noise
from decant.samplers.temperature import temperature
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft, DraftShape
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection
from decant.verifiers.tree_rejection import TreeRejection

DRAWS = 40_000
P = torch.tensor([0.5, 0.25, 0.05, 0.2])
Q = torch.tensor([0.2, 0.3, 0.4, 0.1])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))


def drawn(width: int, replacement: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.multinomial(Q.expand(DRAWS, -1), width, replacement=replacement, generator=generator)


def siblings(tokens_BN: torch.Tensor, kind) -> Draft:
    """All of them children of the root."""
    laws_BMV = torch.cat([Q.expand(DRAWS, 1, -1), torch.zeros(DRAWS, tokens_BN.shape[1] - 1, 4)], 1)
    return Draft(tokens_BN, torch.full_like(tokens_BN, PAD), None if kind == "fixed" else laws_BMV, kind)


def rate(verifier, draft: Draft) -> float:
    target_BMV = P.expand(DRAWS, draft.tokens_BN.shape[1] + 1, -1)
    return float((verifier.verify(draft, target_BMV, NOISE).accepted_B > 0).float().mean())


def close_to(expected: float):
    return pytest.approx(expected, abs=4 * (expected * (1 - expected) / DRAWS) ** 0.5)


@pytest.mark.parametrize("verifier", [Rejection(), TreeRejection()], ids=repr)
def test_one_guess_is_accepted_as_often_as_p_and_q_overlap(verifier) -> None:
    draft = Draft(drawn(1, True), laws_BMV=Q.expand(DRAWS, 1, -1), siblings="independent")
    assert rate(verifier, draft) == close_to(float(torch.minimum(P, Q).sum()))


@pytest.mark.parametrize("verifier", [Coupled(), TreeRejection()], ids=repr)
def test_fixed_guesses_are_accepted_as_often_as_the_target_says_one_of_them(verifier) -> None:
    tokens_BN = torch.tensor([[2, 3]]).expand(DRAWS, -1)
    assert rate(verifier, siblings(tokens_BN, "fixed")) == close_to(float(P[2] + P[3]))


def after_refusal(p_V: torch.Tensor, q_V: torch.Tensor) -> torch.Tensor:
    left_V = (p_V - q_V).clamp_min(0)
    return left_V / left_V.sum() if left_V.sum() > 0 else p_V


def test_two_draws_without_replacement_are_accepted_as_often_as_enumeration_says() -> None:
    accepted = 0.0
    for a in range(4):
        first = min(1.0, float(P[a] / Q[a]))
        rest_V = Q.clone().index_fill(0, torch.tensor(a), 0.0) / (1 - Q[a])
        left_V = after_refusal(P, Q)
        second = sum(float(rest_V[b]) * min(1.0, float(left_V[b] / rest_V[b])) for b in range(4) if b != a)
        accepted += float(Q[a]) * (first + (1 - first) * second)
    assert rate(TreeRejection(), siblings(drawn(2, False), "without_replacement")) == close_to(accepted)


def test_two_independent_draws_are_accepted_as_often_as_the_formula_says() -> None:
    first = float(torch.minimum(P, Q).sum())
    second = float(torch.minimum(after_refusal(P, Q), Q).sum())
    assert rate(TreeRejection(), siblings(drawn(2, True), "independent")) == close_to(first + (1 - first) * second)


def test_shared_noise_makes_the_draft_agree_as_often_as_the_formula_says() -> None:
    """Two races over the same Gumbel numbers have one winner with probability sum_x 1 / sum_y max(p_y/p_x, q_y/q_x)."""
    target, small = (MarkovLM(law_V.log().expand(5, 4, -1)) for law_V in (P, Q))
    context = MarkovContext(torch.zeros(DRAWS, 1, dtype=torch.int64))
    draft = DraftModel(small).draft(context, DraftShape(1), temperature(1.0), NOISE, None)
    target_BMV = target.score(context, draft).logits_BMV.softmax(-1)
    agreed = float((Coupled().verify(draft, target_BMV, NOISE).accepted_B > 0).float().mean())
    ratios_VV = torch.maximum(P[None] / P[:, None], Q[None] / Q[:, None])
    assert agreed == close_to(float((1 / ratios_VV.sum(-1)).sum()))


def test_a_token_that_its_law_cannot_draw_is_not_accepted() -> None:
    """u * q < p holds for q = 0: accepting would commit a guess that was never drawn."""
    certain = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(DRAWS, 1, -1)
    draft = Draft(torch.ones(DRAWS, 1, dtype=torch.int64), laws_BMV=certain, siblings="independent")
    assert rate(Rejection(), draft) == 0
    assert rate(TreeRejection(), draft) == 0


def test_equal_laws_are_always_accepted_though_rounding_leaves_no_residual() -> None:
    draft = Draft(drawn(1, True), laws_BMV=Q.expand(DRAWS, 1, -1), siblings="independent")
    target_BMV = Q.expand(DRAWS, 2, -1) * (1 - 2**-24)  # a hair below q everywhere: the residual is zero everywhere
    for verifier in (Rejection(), TreeRejection()):
        verdict = verifier.verify(draft, target_BMV, NOISE)
        assert float((verdict.accepted_B > 0).float().mean()) > 0.999
        assert (verdict.tokens_BC[:, 0] >= 0).all()


def test_children_may_run_out() -> None:
    """A law of one token has no second child: the node is absent, and the target speaks."""
    certain = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(DRAWS, 1, -1)
    laws_BMV = torch.cat([certain, torch.zeros_like(certain)], 1)
    tokens_BN = torch.tensor([[0, PAD]]).expand(DRAWS, -1)
    draft = Draft(tokens_BN, torch.full_like(tokens_BN, PAD), laws_BMV, "without_replacement")
    assert rate(TreeRejection(), draft) == close_to(0.5)


@pytest.mark.parametrize("verifier", [Coupled(), TreeRejection()], ids=repr)
def test_the_second_branch_is_walked_to_its_end(verifier) -> None:
    """Root 0; children 3 and 1; node 1 goes on with 2: a certain target that says 1, 2, 3 takes the second branch."""
    draft = Draft(torch.tensor([[3, 1, 0, 2]]), torch.tensor([[PAD, PAD, 0, 1]]))
    target_BMV = torch.nn.functional.one_hot(torch.tensor([[1, 0, 2, 0, 3]]), 4).float()
    verdict = verifier.verify(draft, target_BMV, Noise.of([0]))
    assert verdict.tokens_BC[verdict.tokens_BC != PAD].tolist() == [1, 2, 3]
    assert verdict.nodes_BC[verdict.nodes_BC != PAD].tolist() == [1, 3]
