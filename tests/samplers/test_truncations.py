"""top_h, typical, eta, epsilon and top_n_sigma: by hand, by their definitions written out, and at the extremes."""

import math

import pytest
import torch
from torch import Tensor

from decant.errors import BadInput
from decant.protocols import Warp
from decant.samplers.epsilon import epsilon
from decant.samplers.eta import eta
from decant.samplers.min_p import min_p
from decant.samplers.temperature import temperature
from decant.samplers.top_h import top_h
from decant.samplers.top_n_sigma import top_n_sigma
from decant.samplers.typical import typical
from decant.samplers.xtc import xtc

LOGITS_V = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()
WARPS = {
    "top_h": top_h(0.4),
    "top_h, shipped": top_h(0.4, shipped_top=100),
    "typical": typical(0.8),
    "eta": eta(0.02),
    "epsilon": epsilon(0.01),
    "top_n_sigma": top_n_sigma(1.5),
    "xtc": xtc(0.5, 0.05),
}
KEEP_THE_BEST = ["top_h", "top_h, shipped", "eta", "epsilon", "top_n_sigma"]


def kept(warp: Warp, logits_V: Tensor = LOGITS_V) -> list[int]:
    return warp(logits_V[None])[0].isfinite().nonzero().squeeze(-1).tolist()


def zipf(rows: int = 8, vocab: int = 5000) -> Tensor:
    """Rows whose r-th likeliest token has a probability like r^-s, s from 1.05 to 1.6, in random order."""
    generator = torch.Generator().manual_seed(0)
    power_X1 = torch.linspace(1.05, 1.6, rows)[:, None]
    logits_XV = -power_X1 * torch.arange(1, vocab + 1).log()
    return torch.stack([row_V[torch.randperm(vocab, generator=generator)] for row_V in logits_XV])


def uneven(rows: int = 40, vocab: int = 50, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocab, generator=generator) * torch.linspace(0.1, 6, rows)[:, None]


def entropy(probs_V: Tensor) -> float:
    return float(torch.special.entr(probs_V.double() / probs_V.double().sum()).sum())


@pytest.mark.parametrize(
    ("cutoff", "ids"), [(0.0, [*range(5)]), (0.06, [0, 1, 3, 4]), (0.2, [1, 3]), (0.35, [1]), (0.6, [1])]
)
def test_epsilon(cutoff: float, ids: list[int]) -> None:
    assert kept(epsilon(cutoff)) == ids


@pytest.mark.parametrize(  # exp(-H) is 0.2485
    ("cutoff", "ids"), [(0.0, [*range(5)]), (0.06, [0, 1, 3, 4]), (0.2, [1, 3, 4]), (0.9, [1, 3]), (0.999, [1, 3])]
)
def test_eta(cutoff: float, ids: list[int]) -> None:
    assert kept(eta(cutoff)) == ids


@pytest.mark.parametrize(  # the surprises 2.30, 0.92, 3.00, 1.20, 1.90 nats against an entropy of 1.39
    ("mass", "ids"),
    [(0.2, [3]), (0.31, [1, 3]), (0.69, [1, 3]), (0.71, [1, 3, 4]), (0.86, [0, 1, 3, 4]), (1.0, [*range(5)])],
)
def test_typical_may_forbid_the_likeliest(mass: float, ids: list[int]) -> None:
    assert kept(typical(mass)) == ids


@pytest.mark.parametrize(  # sigma is 1.414; with one token less in the divisor, two of it would reach the second
    ("n", "ids"), [(0.1, [4]), (1.0, [3, 4]), (2.0, [2, 3, 4]), (2.9, [*range(5)])]
)
def test_top_n_sigma(n: float, ids: list[int]) -> None:
    assert kept(top_n_sigma(n), torch.arange(5.0)) == ids


def test_top_n_sigma_does_not_see_what_is_forbidden() -> None:
    logits_V = torch.tensor([0.0, -torch.inf, 1.0, 2.0, 3.0, -torch.inf, 4.0])
    assert kept(top_n_sigma(2.0), logits_V) == [3, 4, 6]


@pytest.mark.parametrize(("warp", "count"), [(top_h(0.4), 5), (top_h(0.4, shipped_top=100), 25)])
def test_the_two_rules_of_top_h_on_64_equal_tokens(warp: Warp, count: int) -> None:
    assert kept(warp, torch.full((64,), 2.0)) == [*range(count)]


def test_the_shipped_rule_is_blind_beyond_its_tokens() -> None:
    logits_V = torch.arange(8.0)
    assert kept(top_h(1.0, shipped_top=3), logits_V) == [5, 6, 7]
    assert kept(top_h(1.0, shipped_top=99), logits_V) == [*range(8)]


@pytest.mark.parametrize("alpha", [0.05, 0.4, 0.9, 0.999])
@pytest.mark.parametrize("rows", [zipf, uneven], ids=["zipf", "uneven"])
def test_top_h_keeps_the_longest_beginning_within_its_entropy(rows, alpha: float) -> None:
    """Some beginnings here are longer than what is looked at first."""
    logits_XV = rows()
    for logits_V, warped_V in zip(logits_XV, top_h(alpha)(logits_XV), strict=True):
        probs_V, order_V = logits_V.double().softmax(-1).sort(descending=True)
        count = int(warped_V.isfinite().sum())
        assert set(kept(top_h(alpha), logits_V)) == set(order_V[:count].tolist())
        bound = alpha * entropy(probs_V)
        assert count == 1 or entropy(probs_V[:count]) <= bound + 1e-6
        assert entropy(probs_V[: count + 1]) > bound - 1e-6


def test_the_shipped_rule_exceeds_the_entropy_bound() -> None:
    """The check above bites: the other rule fails it."""
    warped_V = top_h(0.4, shipped_top=64)(torch.zeros(1, 64))[0]
    assert entropy(warped_V.softmax(-1)) > 0.4 * math.log(64) + 1


def test_top_h_1_keeps_everything() -> None:
    logits_XV = zipf()
    assert torch.equal(top_h(1.0)(logits_XV), logits_XV)


@pytest.mark.parametrize("mass", [0.1, 0.5, 0.95, 0.999])
@pytest.mark.parametrize("rows", [zipf, uneven], ids=["zipf", "uneven"])
def test_typical_keeps_the_nearest_that_reach_the_mass(rows, mass: float) -> None:
    logits_XV = rows()
    for logits_V, warped_V in zip(logits_XV, typical(mass)(logits_XV), strict=True):
        probs_V = logits_V.double().softmax(-1)
        far_V, stays_V = (-probs_V.log() - entropy(probs_V)).abs(), warped_V.isfinite()
        nearest_V, count = far_V.argsort(), int(stays_V.sum())
        # float32 takes tokens for equally near, and masses for equal, that float64 tells apart
        assert stays_V.all() or far_V[stays_V].max() <= far_V[~stays_V].min() + 1e-5
        assert probs_V[nearest_V[:count]].sum() >= mass - 1e-5
        assert count == 1 or probs_V[nearest_V[: count - 2]].sum() < mass + 1e-5


@pytest.mark.parametrize("cutoff", [0.0003, 0.004, 0.3])
def test_eta_and_epsilon_by_definition(cutoff: float) -> None:
    logits_XV = uneven()
    probs_XV = logits_XV.double().softmax(-1)
    for probs_V, logits_V in zip(probs_XV, logits_XV, strict=True):
        least = min(cutoff, math.sqrt(cutoff) * math.exp(-entropy(probs_V)))
        assert kept(eta(cutoff), logits_V) == (probs_V >= least).nonzero().squeeze(-1).tolist()
        likely = (probs_V >= cutoff).nonzero().squeeze(-1).tolist()
        assert kept(epsilon(cutoff), logits_V) == (likely or [int(probs_V.argmax())])


@pytest.mark.parametrize("name", KEEP_THE_BEST)
def test_the_likeliest_stays(name: str) -> None:
    for logits_XV in (zipf(), uneven()):
        best_X1 = logits_XV.argmax(-1, keepdim=True)
        assert WARPS[name](logits_XV).gather(-1, best_X1).isfinite().all()


@pytest.mark.parametrize("name", sorted(set(WARPS) - {"xtc"}))
def test_what_stays_is_left_as_it_was(name: str) -> None:
    logits_XV = uneven()
    warped_XV = WARPS[name](logits_XV)
    assert (warped_XV == -torch.inf).any()
    assert torch.equal(warped_XV.where(warped_XV.isfinite(), logits_XV), logits_XV)


def test_epsilon_twice_is_epsilon_once() -> None:
    """The others are not idempotent: what they forbid lowers the entropy, or the deviation, that they measure."""
    logits_XV = uneven()
    once_XV = epsilon(0.01)(logits_XV)
    assert torch.equal(epsilon(0.01)(once_XV), once_XV)
    for name in ("top_h", "typical", "eta", "top_n_sigma"):
        once_XV = WARPS[name](logits_XV)
        assert not torch.equal(WARPS[name](once_XV), once_XV)


@pytest.mark.parametrize("tau", [0.1, 0.7, 3.0])
def test_top_n_sigma_keeps_the_same_at_every_temperature(tau: float) -> None:
    logits_XV = uneven()
    for warp, same in ((top_n_sigma(1.5), True), (min_p(0.1), False)):
        cold_XV, warm_XV = warp(temperature(tau)(logits_XV)), warp(logits_XV)
        assert torch.equal(cold_XV.isfinite(), warm_XV.isfinite()) is same


@pytest.mark.parametrize("name", WARPS)
def test_extreme_rows(name: str) -> None:
    sure_V = torch.full((300,), -torch.inf)
    sure_V[17] = 3.0
    assert kept(WARPS[name], sure_V) == [17]
    nearly_V = torch.full((300,), -200.0)  # no float32 holds the probability of the others
    nearly_V[17] = 3.0
    assert WARPS[name](nearly_V).softmax(-1)[17] == 1
    for level in (0.0, 0.1, -1e4):
        flat_V = torch.full((90,), level)
        if "top_h" not in name:  # which cuts ties
            assert torch.equal(WARPS[name](flat_V[None])[0], flat_V)


@pytest.mark.parametrize("name", WARPS)
def test_a_forbidden_token_is_no_token(name: str) -> None:
    """What is drawn of the others is as if the vocabulary were without it."""
    logits_XV = uneven(seed=1)
    allowed_V = torch.arange(50) % 3 > 0
    without_XV = WARPS[name](logits_XV[:, allowed_V]).softmax(-1)
    masked_XV = WARPS[name](logits_XV.masked_fill(~allowed_V, -torch.inf)).softmax(-1)
    torch.testing.assert_close(masked_XV[:, allowed_V], without_XV)


@pytest.mark.parametrize("name", WARPS)
def test_neighbours_change_no_bit_in_a_large_vocabulary(name: str) -> None:
    """One of the rows is flat, so that the others are sorted where alone they are not."""
    generator = torch.Generator().manual_seed(0)
    logits_XV = torch.randn(3, 40_000, generator=generator) * torch.tensor([[0.01], [2.0], [4.0]])
    warped_XV = WARPS[name](logits_XV)
    for row_V, logits_V in zip(warped_XV, logits_XV, strict=True):
        assert torch.equal(WARPS[name](logits_V[None])[0], row_V)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: epsilon(-0.1), "epsilon's cutoff must lie in [0, 1), got -0.1; 0 keeps every token"),
        (lambda: epsilon(1.0), "epsilon's cutoff must lie in [0, 1), got 1.0; 0 keeps every token"),
        (lambda: eta(float("nan")), "eta's cutoff must lie in [0, 1), got nan; 0 keeps every token"),
        (lambda: typical(0.0), "typical's mass must lie in (0, 1], got 0.0; 1 keeps every token"),
        (lambda: typical(1.1), "typical's mass must lie in (0, 1], got 1.1; 1 keeps every token"),
        (
            lambda: top_n_sigma(0),
            "top_n_sigma needs a positive number of standard deviations, got 0; for argmax use greedy()",
        ),
        (
            lambda: top_n_sigma(float("inf")),
            "top_n_sigma needs a positive number of standard deviations, got inf; for argmax use greedy()",
        ),
        (lambda: top_h(0.0), "top_h must lie in (0, 1], got 0.0; 1 keeps the most"),
        (lambda: top_h(1.5), "top_h must lie in (0, 1], got 1.5; 1 keeps the most"),
        (
            lambda: top_h(0.4, shipped_top=0),
            "top_h's shipped rule must look at one token at least, got 0; it ships with 100",
        ),
    ],
)
def test_messages(make, message: str) -> None:
    with pytest.raises(BadInput) as raised:
        make()
    assert str(raised.value) == message
