"""How often K-SEQ accepts, which paths survive, and what breaks its law. The law itself is in tests/laws."""

import pytest
import torch
from scipy.optimize import brentq

from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as
from decant.testing.laws import check_verifier
from decant.testing.laws.paths import joint_law
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft
from decant.verifiers import k_seq
from decant.verifiers.k_seq import KSeq
from decant.verifiers.rejection import Rejection

DRAWS = 40_000
P = torch.tensor([0.5, 0.25, 0.05, 0.2])
Q = torch.tensor([0.2, 0.3, 0.4, 0.1])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))
ROOT = torch.tensor([[0, 1]])


def passes(scale: float) -> float:
    return float(torch.minimum(Q.double(), P.double() / scale).sum())


def chains(model: MarkovLM, count: int, depth: int, generator: torch.Generator) -> Draft:
    """`count` chains drawn from the model, each by itself; they share the root only. Node i lies under i - count."""
    context = MarkovContext(ROOT.expand(DRAWS, -1))
    tokens_BN = parents_BN = torch.empty(DRAWS, 0, dtype=torch.int64)
    laws = []
    for level in range(depth):
        rows = count if level else 1
        laws.append(model.score(context, Draft(tokens_BN, parents_BN)).logits_BMV[:, -rows:].softmax(-1))
        drawn_B = torch.multinomial(laws[-1].flatten(0, 1), count // rows, replacement=True, generator=generator)
        nodes_C = torch.arange(count) + tokens_BN.shape[1] - count if level else torch.full((count,), PAD)
        tokens_BN = torch.cat([tokens_BN, drawn_B.view(DRAWS, count)], 1)
        parents_BN = torch.cat([parents_BN, nodes_C.expand(DRAWS, -1)], 1)
    laws_BMV = torch.cat(laws, 1)
    leaves = laws_BMV.new_zeros(DRAWS, tokens_BN.shape[1] + 1 - laws_BMV.shape[1], model.vocab)
    return Draft(tokens_BN, parents_BN, torch.cat([laws_BMV, leaves], 1), "independent")


@pytest.mark.parametrize("guesses", [2, 3])
def test_it_accepts_as_often_as_the_formula_says(guesses: int) -> None:
    scale = brentq(lambda r: 1 - (1 - passes(r)) ** guesses - r * passes(r), 1, guesses)
    expected = 1 - (1 - passes(scale)) ** guesses
    generator = torch.Generator().manual_seed(0)
    tokens_BN = torch.multinomial(Q.expand(DRAWS, -1), guesses, replacement=True, generator=generator)
    laws_BMV = torch.cat([Q.expand(DRAWS, 1, -1), torch.zeros(DRAWS, guesses - 1, 4)], 1)
    draft = Draft(tokens_BN, torch.full_like(tokens_BN, PAD), laws_BMV, "independent")
    verdict = KSeq().verify(draft, P.expand(DRAWS, guesses + 1, -1), NOISE)
    error = (expected * (1 - expected) / DRAWS) ** 0.5
    assert float((verdict.accepted_B > 0).float().mean()) == pytest.approx(expected, abs=4 * error)
    assert_distributed_as(verdict.tokens_BC[:, 0], P, "the first token")


def test_one_chain_is_rejection_bit_for_bit() -> None:
    target = MarkovLM.random(4, 0)
    draft = chains(target.blurred(1), 1, 3, torch.Generator().manual_seed(2))
    chain = Draft(draft.tokens_BN, None, draft.laws_BMV, "independent")
    target_BMV = target.score(MarkovContext(ROOT.expand(DRAWS, -1)), chain).logits_BMV.softmax(-1)
    plain = Rejection().verify(chain, target_BMV, NOISE)
    assert 0 < int((plain.accepted_B == 3).sum()) < DRAWS
    for draft in (chain, Draft(chain.tokens_BN, torch.tensor([[PAD, 0, 1]]).expand(DRAWS, -1), *laws_of(chain))):
        verdict = KSeq().verify(draft, target_BMV, NOISE)
        width = verdict.tokens_BC.shape[1]
        assert torch.equal(verdict.tokens_BC, plain.tokens_BC[:, :width])
        assert torch.equal(verdict.nodes_BC, plain.nodes_BC[:, :width])


def laws_of(draft: Draft):
    return draft.laws_BMV, draft.siblings


def test_chains_that_share_the_root_have_the_target_s_law_whoever_survives() -> None:
    """Of two tokens most chains are alike: nearly every second token is judged among several survivors."""
    target = MarkovLM.random(2, 3)
    joint_P = joint_law(target, lambda logits_XV: logits_XV, ROOT, 2)
    draft = chains(target.blurred(4, 2.0), 3, 2, torch.Generator().manual_seed(5))
    verdict = KSeq().verify(draft, score(target, draft), NOISE)
    assert_distributed_as(pairs(target, verdict), joint_P, "the first two tokens")


def score(target: MarkovLM, draft: Draft) -> torch.Tensor:
    return target.score(MarkovContext(ROOT.expand(DRAWS, -1)), draft).logits_BMV.softmax(-1)


def pairs(target: MarkovLM, verdict) -> torch.Tensor:
    """The first two tokens; the target itself draws the second where only one was committed."""
    first_B = verdict.tokens_BC[:, 0]
    law_BV = target.score(MarkovContext(ROOT.expand(DRAWS, -1)), Draft(first_B[:, None])).logits_BMV[:, 1].softmax(-1)
    own_B = torch.multinomial(law_BV, 1, generator=torch.Generator().manual_seed(6)).squeeze(1)
    second_B = verdict.tokens_BC[:, 1].where(verdict.tokens_BC[:, 1] != PAD, own_B)
    return first_B * target.vocab + second_B


def test_chains_that_said_something_else_must_not_survive() -> None:
    """The classic bug of the sequence level: every chain stays in the race. Planted by hanging all of the second level
    from one node, which is what a verifier that forgets prefixes sees."""
    target = MarkovLM.random(2, 3)
    joint_P = joint_law(target, lambda logits_XV: logits_XV, ROOT, 2)
    right = chains(target.blurred(4, 2.0), 3, 2, torch.Generator().manual_seed(5))
    all_BN = torch.cat([right.tokens_BN[:, :1].expand(-1, 3), right.tokens_BN[:, 3:]], 1)
    wrong = Draft(all_BN, right.parents_BN, right.laws_BMV, "independent")
    with pytest.raises(AssertionError, match="not the law that was promised"):
        assert_distributed_as(pairs(target, KSeq().verify(wrong, score(target, wrong), NOISE)), joint_P, "two tokens")


def test_a_path_may_go_on_below_the_other_of_two_equal_guesses() -> None:
    """Both chains begin with 1; the target goes on with 3, as the second does: its own nodes are the path."""
    draft = Draft(
        torch.tensor([[1, 1, 2, 3]]), torch.tensor([[PAD, PAD, 0, 1]]), torch.full((1, 5, 4), 0.25), "independent"
    )
    target_BMV = torch.nn.functional.one_hot(torch.tensor([[1, 3, 3, 0, 0]]), 4).float()
    verdict = KSeq().verify(draft, target_BMV, Noise.of([0]))
    assert verdict.nodes_BC.tolist() == [[1, 3, PAD]]
    assert verdict.tokens_BC.tolist() == [[1, 3, 0]]


def test_a_token_that_its_law_cannot_draw_is_not_accepted() -> None:
    certain = torch.tensor([1.0, 0.0, 0.0, 0.0]).expand(DRAWS, 2, -1)
    tokens_BN = torch.ones(DRAWS, 2, dtype=torch.int64)
    draft = Draft(tokens_BN, torch.full_like(tokens_BN, PAD), certain, "independent")
    assert int(KSeq().verify(draft, P.expand(DRAWS, 3, -1), NOISE).accepted_B.sum()) == 0


def test_a_scale_above_the_root_is_exact_and_accepts_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search may stop anywhere: it returns the end from which nothing negative is left."""
    draft = chains(MarkovLM(Q.log().expand(5, 4, -1)), 2, 1, torch.Generator().manual_seed(0))
    best = KSeq().verify(draft, P.expand(DRAWS, 3, -1), NOISE).accepted_B.sum()
    monkeypatch.setattr(k_seq, "HALVINGS", 0)
    check_verifier(KSeq())
    assert KSeq().verify(draft, P.expand(DRAWS, 3, -1), NOISE).accepted_B.sum() < best


@pytest.mark.parametrize("mistake", ["the residual of one guess", "no scale"])
def test_the_law_sees_the_classic_mistakes(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries, discount = k_seq._tries, k_seq._discount
    if mistake == "the residual of one guess":
        monkeypatch.setattr(k_seq, "_tries", lambda pass_R1, guesses_R1: tries(pass_R1, guesses_R1.clamp_max(1)))
    else:
        monkeypatch.setattr(
            k_seq, "_discount", lambda p, q, guesses_R: (torch.ones_like(p[:, :1]), discount(p, q, guesses_R)[1])
        )
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_verifier(KSeq())
