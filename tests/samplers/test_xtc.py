"""XTC is a coin at every position, whose mixture is the law: by hand, against the coin itself, under speculation."""

import pytest
import torch
from torch import Tensor

from decant.constraints.unconstrained import Unconstrained
from decant.decoders.autoregressive import Autoregressive
from decant.decoders.speculative import Speculative
from decant.drafters.draft_model import DraftModel
from decant.errors import BadInput
from decant.policies.fixed import Fixed
from decant.protocols import Warp
from decant.samplers.xtc import xtc
from decant.testing.chi_square import assert_distributed_as, power
from decant.testing.laws import check_decoder, check_law
from decant.testing.markov import MarkovLM
from decant.verifiers.coupled import Coupled
from decant.verifiers.rejection import Rejection

PROBS_V = torch.tensor([0.2, 0.4, 0.1, 0.25, 0.05])
LM = MarkovLM.random(vocab=4, seed=3, spread=1.0)
SMALL = LM.blurred(seed=4)


def without_top(probs_XV: Tensor, threshold: float) -> Tensor:
    """The law on the other side of the coin, as it is written elsewhere: sort, and drop all but the last of the tokens
    that reach the threshold."""
    sorted_XV, order_XV = probs_XV.sort(-1, descending=True)
    top_XV = sorted_XV >= threshold
    dropped_XV = top_XV.cumsum(-1) < top_XV.sum(-1, keepdim=True)
    left_XV = torch.zeros_like(probs_XV).scatter(-1, order_XV, sorted_XV.masked_fill(dropped_XV, 0))
    return left_XV / left_XV.sum(-1, keepdim=True)


def mixture(probability: float, threshold: float) -> Warp:
    """The definition."""

    def warp(logits_XV: Tensor) -> Tensor:
        probs_XV = logits_XV.double().softmax(-1)
        mixed_XV = probability * without_top(probs_XV, threshold) + (1 - probability) * probs_XV
        return mixed_XV.log().to(logits_XV)

    return warp


def of_logits(probability: float, threshold: float) -> Warp:
    """A planted bug: it mixes logarithms."""

    def warp(logits_XV: Tensor) -> Tensor:
        rest_XV = mixture(1.0, threshold)(logits_XV).clamp_min(-20)
        return probability * rest_XV + (1 - probability) * logits_XV.log_softmax(-1)

    return warp


@pytest.mark.parametrize(
    ("threshold", "want"),
    [
        (0.06, [0, 0, 2 / 3, 0, 1 / 3]),
        (0.15, [4 / 7, 0, 2 / 7, 0, 1 / 7]),
        (0.22, [0.2 / 0.6, 0, 0.1 / 0.6, 0.25 / 0.6, 0.05 / 0.6]),
        (0.3, PROBS_V.tolist()),  # one top choice alone stays
        (0.45, PROBS_V.tolist()),
    ],
)
def test_by_hand(threshold: float, want: list[float]) -> None:
    want_V = torch.tensor(want)
    logits_V = PROBS_V.log() + 3
    torch.testing.assert_close(xtc(1.0, threshold)(logits_V).softmax(-1), want_V)
    torch.testing.assert_close(xtc(0.25, threshold)(logits_V).softmax(-1), 0.25 * want_V + 0.75 * PROBS_V)


@pytest.mark.parametrize("threshold", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("probability", [0.1, 0.5, 1.0])
def test_by_definition(probability: float, threshold: float) -> None:
    logits_XV = 2 * torch.randn(4, 10, 30, generator=torch.Generator().manual_seed(0))
    want_XV = mixture(probability, threshold)(logits_XV).softmax(-1)
    torch.testing.assert_close(xtc(probability, threshold)(logits_XV).softmax(-1), want_XV)


def test_ties_for_the_least_all_stay() -> None:
    probs_V = torch.tensor([0.3, 0.2, 0.2, 0.2, 0.1])
    torch.testing.assert_close(xtc(1.0, 0.15)(probs_V.log()).exp()[1:] * 0.7, probs_V[1:])
    assert xtc(1.0, 0.15)(probs_V.log())[0] == -torch.inf
    pair_V = torch.tensor([0.5, 0.5]).log()
    assert torch.equal(xtc(1.0, 0.5)(pair_V), pair_V)


@pytest.mark.parametrize("warp", [xtc(0.0, 0.1), xtc(1.0, 0.5), xtc(1.0, 0.41)])
def test_where_nothing_is_excluded_no_bit_changes(warp: Warp) -> None:
    logits_V = PROBS_V.log() + 3
    assert torch.equal(warp(logits_V), logits_V)


def test_it_comes_as_often_as_with_a_coin() -> None:
    """100,000 tosses of the coin, each with a draw from the law on its side. The planted law is caught with power
    above 0.99."""
    draws, probability, threshold = 100_000, 0.3, 0.15
    generator = torch.Generator().manual_seed(0)
    heads_R = torch.rand(draws, generator=generator) < probability
    laws_2V = torch.stack([PROBS_V, without_top(PROBS_V, threshold)])
    drawn_R = torch.multinomial(laws_2V[heads_R.long()], 1, generator=generator)[:, 0]
    law_V = xtc(probability, threshold)(PROBS_V.log()).softmax(-1)
    assert_distributed_as(drawn_R, law_V, "xtc")
    wrong_V = of_logits(probability, threshold)(PROBS_V.log()[None])[0].softmax(-1)
    assert power(float(((law_V - wrong_V) ** 2 / wrong_V).sum()), draws, len(PROBS_V) - 1) > 0.99
    with pytest.raises(AssertionError, match="not the law that was promised"):
        assert_distributed_as(drawn_R, wrong_V, "a mixture of logarithms")


def speculative(warp: Warp, verifier, policy=Fixed(depth=3)) -> Speculative:  # noqa: B008  (frozen)
    drafter = DraftModel(SMALL, coupled=isinstance(verifier, Coupled))
    return Speculative(LM, drafter, verifier, policy, warp, Unconstrained())


def test_speculation_keeps_the_law_of_a_coin_at_every_position() -> None:
    """4,000 draws of 64 outcomes: an effect of 0.036 is caught with power above 0.99; the planted one is above 1."""
    check_law(speculative(xtc(0.5, 0.2), Rejection()), LM, mixture(0.5, 0.2), draws=4000)
    with pytest.raises(AssertionError, match="not the law that was promised"):
        check_law(speculative(of_logits(0.5, 0.2), Rejection()), LM, mixture(0.5, 0.2), draws=4000)


def test_speculation_keeps_the_tokens() -> None:
    warp = xtc(0.5, 0.2)
    check_decoder(speculative(warp, Coupled()), Autoregressive(LM, warp, Unconstrained()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: xtc(-0.1, 0.1), "xtc's probability must lie in [0, 1], got -0.1; 0 never excludes"),
        (lambda: xtc(float("nan"), 0.1), "xtc's probability must lie in [0, 1], got nan; 0 never excludes"),
        (lambda: xtc(0.5, 0.0), "xtc's threshold must lie in (0, 1], got 0.0; from 0.5 on it excludes nothing"),
        (lambda: xtc(0.5, 1.5), "xtc's threshold must lie in (0, 1], got 1.5; from 0.5 on it excludes nothing"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(BadInput) as raised:
        make()
    assert str(raised.value) == message
