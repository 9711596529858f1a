"""The lower the lenience, the more stands; at 1 it is rejection."""

from itertools import pairwise

import pytest
import torch

from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.markov import MarkovContext, MarkovLM
from decant.types import PAD, Draft
from decant.verifiers.lenience import Lenience
from decant.verifiers.rejection import Rejection

DRAWS = 40_000
P = torch.tensor([0.5, 0.25, 0.05, 0.2])
Q = torch.tensor([0.2, 0.3, 0.4, 0.1])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))


def one_guess() -> Draft:
    tokens_BN = torch.multinomial(Q.expand(DRAWS, -1), 1, generator=torch.Generator().manual_seed(0))
    return Draft(tokens_BN, laws_BMV=Q.expand(DRAWS, 1, -1), siblings="independent")


@pytest.mark.parametrize("lenience", [1.0, 0.7, 0.4, 0.1])
def test_it_accepts_as_often_as_the_formula_says_and_bounds_every_token(lenience: float) -> None:
    verdict = Lenience(lenience).verify(one_guess(), P.expand(DRAWS, 2, -1), NOISE)
    expected = float(torch.minimum(Q, P / lenience).sum())
    error = (expected * (1 - expected) / DRAWS) ** 0.5
    assert float((verdict.accepted_B > 0).float().mean()) == pytest.approx(expected, abs=max(4 * error, 1e-6))
    said_V = torch.bincount(verdict.tokens_BC[:, 0], minlength=4) / DRAWS
    assert (said_V <= P / lenience + 0.01).all()


def test_less_lenience_accepts_what_more_accepted_and_more() -> None:
    kept = [
        Lenience(lenience).verify(one_guess(), P.expand(DRAWS, 2, -1), NOISE).accepted_B
        for lenience in (1.0, 0.7, 0.4, 0.1)
    ]
    for strict_B, loose_B in pairwise(kept):
        assert (loose_B >= strict_B).all()
        assert (loose_B > strict_B).any()


@pytest.mark.parametrize("kind", ["independent", "fixed"])
def test_at_one_it_is_rejection_bit_for_bit(kind) -> None:
    target = MarkovLM.random(4, 0)
    tokens_BN = torch.randint(4, (DRAWS, 3), generator=torch.Generator().manual_seed(1))
    tokens_BN[::2, 2] = PAD
    laws_BMV = None if kind == "fixed" else Q.expand(DRAWS, 3, -1)
    draft = Draft(tokens_BN, laws_BMV=laws_BMV, siblings=kind)
    context = MarkovContext(torch.zeros(DRAWS, 1, dtype=torch.int64))
    target_BMV = target.score(context, draft).logits_BMV.softmax(-1)
    ours, plain = (verifier.verify(draft, target_BMV, NOISE) for verifier in (Lenience(1.0), Rejection()))
    assert torch.equal(ours.tokens_BC, plain.tokens_BC)
    assert torch.equal(ours.nodes_BC, plain.nodes_BC)
    assert not torch.equal(Lenience(0.5).verify(draft, target_BMV, NOISE).tokens_BC, plain.tokens_BC)


@pytest.mark.parametrize("lenience", [0.0, -0.5, 1.1, float("nan")])
def test_a_lenience_out_of_range_is_refused(lenience: float) -> None:
    with pytest.raises(BadInput, match=f"lenience is above 0 and at most 1, which is exact; got {lenience}"):
        Lenience(lenience)
