"""The more surprise is allowed, the more stands; at 0 the text is the target's, at inf the draft's."""

from math import inf, log

import pytest
import torch

from decant.errors import BadInput
from decant.noise import Noise
from decant.testing.chi_square import assert_distributed_as
from decant.types import PAD, Draft
from decant.verifiers.threshold import Threshold

DRAWS = 20_000
P = torch.tensor([0.5, 0.3, 0.2, 0.0])
NOISE = Noise(torch.arange(DRAWS), torch.zeros(DRAWS, dtype=torch.int64))
TOKENS_BN = torch.randint(4, (DRAWS, 3), generator=torch.Generator().manual_seed(0))


def verdict_of(surprise: float, tokens_BN: torch.Tensor = TOKENS_BN):
    return Threshold(surprise).verify(Draft(tokens_BN), P.expand(DRAWS, tokens_BN.shape[1] + 1, -1), NOISE)


@pytest.mark.parametrize(("surprise", "kept"), [(0.5, []), (0.8, [0]), (1.3, [0, 1]), (1.7, [0, 1, 2])])
def test_a_guess_stands_up_to_its_surprise(surprise: float, kept: list[int]) -> None:
    stands_BN = torch.isin(TOKENS_BN, torch.tensor(kept, dtype=torch.int64))
    assert torch.equal(verdict_of(surprise).accepted_B, stands_BN.long().cumprod(-1).sum(-1))
    assert [token for token in range(3) if -log(P[token]) <= surprise] == kept


def test_more_surprise_accepts_more() -> None:
    rates = [float(verdict_of(surprise).accepted_B.double().mean()) for surprise in (0.0, 0.8, 1.3, 1.7, inf)]
    assert rates == sorted(set(rates))


def test_without_surprise_the_text_is_the_target_s() -> None:
    verdict = verdict_of(0.0)
    assert int(verdict.accepted_B.sum()) == 0
    assert_distributed_as(verdict.tokens_BC[:, 0], P, "the first token")
    with pytest.raises(AssertionError, match="not the law that was promised"):
        assert_distributed_as(verdict_of(0.8).tokens_BC[:, 0], P, "the first token")


def test_with_endless_surprise_the_text_is_the_draft_s_but_absent_guesses_end_it() -> None:
    tokens_BN = TOKENS_BN.clone()
    tokens_BN[::2, 1] = PAD
    verdict = verdict_of(inf, tokens_BN)
    assert verdict.accepted_B[::2].eq(1).all()
    assert verdict.accepted_B[1::2].eq(3).all()


def test_a_certain_target_is_obeyed_whatever_the_threshold() -> None:
    certain_BMV = torch.nn.functional.one_hot(torch.tensor([[1, 2, 0]]), 4).float()
    for tokens, expected in (([1, 0], [1, 2]), ([1, 2], [1, 2, 0]), ([0, 2], [1])):
        verdict = Threshold(20.0).verify(Draft(torch.tensor([tokens])), certain_BMV, Noise.of([0]))
        assert verdict.tokens_BC[verdict.tokens_BC != PAD].tolist() == expected


@pytest.mark.parametrize("surprise", [-0.1, float("nan")])
def test_a_threshold_below_zero_is_refused(surprise: float) -> None:
    with pytest.raises(BadInput, match=f"surprise is 0 nats or more, 0 being exact; got {surprise}"):
        Threshold(surprise)
