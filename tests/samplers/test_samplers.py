"""Each sampler by hand, and its messages. The laws are in tests/laws."""

import pytest
import torch

from decant.errors import BadInput
from decant.samplers.chain import chain
from decant.samplers.greedy import greedy
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_k import top_k
from decant.samplers.top_p import top_p

PROBS_V = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS_V = PROBS_V.log()


def kept(warp) -> list[int]:
    return warp(LOGITS_V[None])[0].isfinite().nonzero().squeeze(-1).tolist()


def test_greedy_takes_the_first_maximum() -> None:
    logits_XV = torch.tensor([[1.0, 3.0, 3.0], [5.0, 1.0, 2.0]])
    assert greedy()(logits_XV).softmax(-1).tolist() == [[0, 1, 0], [1, 0, 0]]


def test_temperature() -> None:
    torch.testing.assert_close(temperature(0.5)(LOGITS_V).softmax(-1), PROBS_V**2 / (PROBS_V**2).sum())


def test_temperature_one_changes_no_bit() -> None:
    assert torch.equal(temperature(1.0)(LOGITS_V), LOGITS_V)


def test_a_tiny_temperature_is_greedy() -> None:
    logits_XV = torch.tensor([[90.0, 100.0, 99.9]])
    assert temperature(1e-38)(logits_XV).softmax(-1).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize(("k", "ids"), [(1, [1]), (2, [1, 3]), (4, [0, 1, 3, 4]), (5, [*range(5)]), (50, [*range(5)])])
def test_top_k(k: int, ids: list[int]) -> None:
    assert kept(top_k(k)) == ids


def test_top_k_keeps_ties_with_the_last() -> None:
    assert top_k(2)(torch.tensor([1.0, 0.0, 0.0, -1.0])).isfinite().tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("p", "ids"), [(0.01, [1]), (0.39, [1]), (0.41, [1, 3]), (0.69, [1, 3]), (0.75, [1, 3, 4]), (1.0, [*range(5)])]
)
def test_top_p(p: float, ids: list[int]) -> None:
    assert kept(top_p(p)) == ids


@pytest.mark.parametrize("spread", [0.01, 1.0, 6.0])
def test_a_large_nucleus_is_the_one_that_sorting_finds(spread: float) -> None:
    """Rows of 2,000 tokens: flat ones, whose nucleus is most of them, beside steep ones, also one by one."""
    generator = torch.Generator().manual_seed(0)
    logits_XV = torch.randn(4, 2000, generator=generator) * torch.tensor([[spread], [9.0], [3.0], [0.5]])
    warped_XV = top_p(0.9)(logits_XV)
    for row_V, logits_V in zip(warped_XV, logits_XV, strict=True):
        probs_V, order_V = logits_V.double().softmax(-1).sort(descending=True)
        count = int((probs_V.cumsum(-1) - probs_V < 0.9).sum())
        kept = set(row_V.isfinite().nonzero().squeeze(-1).tolist())
        assert abs(len(kept) - count) <= 1  # float32 may put the border one token further
        assert set(order_V[: min(len(kept), count)].tolist()) <= kept
        assert torch.equal(top_p(0.9)(logits_V[None])[0], row_V)


@pytest.mark.parametrize(("p", "ids"), [(0.0, [*range(5)]), (0.2, [0, 1, 3, 4]), (0.5, [1, 3]), (1.0, [1])])
def test_min_p(p: float, ids: list[int]) -> None:
    assert kept(min_p(p)) == ids


def test_chain_applies_left_to_right() -> None:
    cold_first = chain(temperature(0.5), top_p(0.6))
    cold_last = chain(top_p(0.6), temperature(0.5))
    assert kept(cold_first) == [1, 3]
    assert kept(cold_last) == [1, 3]
    assert kept(chain(temperature(0.5), top_p(0.55))) == [1]
    assert kept(chain(top_p(0.55), temperature(0.5))) == [1, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: temperature(0), "temperature must be positive, got 0; for argmax decoding use greedy()"),
        (lambda: temperature(-1.0), "temperature must be positive, got -1.0; for argmax decoding use greedy()"),
        (lambda: temperature(float("nan")), "temperature must be positive, got nan; for argmax decoding use greedy()"),
        (lambda: temperature(float("inf")), "temperature must be positive, got inf; for argmax decoding use greedy()"),
        (lambda: top_k(0), "top_k must keep at least one token, got 0; leave it out to keep all"),
        (lambda: top_p(0.0), "top_p must lie in (0, 1], got 0.0; 1 keeps every token"),
        (lambda: top_p(1.5), "top_p must lie in (0, 1], got 1.5; 1 keeps every token"),
        (lambda: min_p(-0.1), "min_p must lie in [0, 1], got -0.1; 0 keeps every token"),
        (lambda: min_p(float("nan")), "min_p must lie in [0, 1], got nan; 0 keeps every token"),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(BadInput) as raised:
        make()
    assert str(raised.value) == message
