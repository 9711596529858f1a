"""How the target moves: laws stay laws, states go on from a file, and each method does its paper's arithmetic."""

import math

import pytest
import torch

from decant.distill.curricula.constant import Constant
from decant.distill.curricula.ground_truth import GroundTruth, best_alpha
from decant.distill.curricula.linear import Linear
from decant.distill.curricula.taid import TAID
from decant.errors import BadInput

VOCAB = 11
CURRICULA = {
    "constant": Constant(),
    "linear": Linear(until=0.5),
    "taid": TAID(alpha=0.05),
    "ground_truth": GroundTruth(0.3),
}


def logits(seed: int, rows: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, VOCAB, generator=generator, dtype=torch.float64)


P, Q, LABEL = logits(0).log_softmax(-1), logits(1).log_softmax(-1), torch.arange(6)
LOSSES = [2.0, 1.9, 2.4, 1.0, 0.9, 0.2, 0.3, 0.1, 0.1, 4.0]


def played(curriculum, losses, state=None, first: int = 0):
    state = curriculum.start() if state is None else state
    found = []
    for step, nats in enumerate(losses, first):
        found.append(curriculum.target(state, P, Q, LABEL))
        state = curriculum.observe(state, step, len(LOSSES), nats)
    return found, state


@pytest.mark.parametrize("name", CURRICULA)
def test_laws_of_curricula(name: str, tmp_path) -> None:
    curriculum = CURRICULA[name]
    whole, last = played(curriculum, LOSSES)
    for law in whole:
        assert torch.allclose(law.exp().sum(-1), torch.ones(6, dtype=torch.float64))
    _, state = played(curriculum, LOSSES[:4])
    torch.save(state, tmp_path / "state.pt")
    again, end = played(curriculum, LOSSES[4:], torch.load(tmp_path / "state.pt", weights_only=True), first=4)
    assert all(torch.equal(one, two) for one, two in zip(again, whole[4:], strict=True))
    assert end == last
    order = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(3))
    where = order.argsort()[LABEL]
    moved = curriculum.target(state, P[:, order], Q[:, order], where)
    assert torch.allclose(moved, curriculum.target(state, P, Q, LABEL)[:, order])


@pytest.mark.parametrize("name", CURRICULA)
def test_targets_are_finite_for_laws_with_holes(name: str) -> None:
    p, q = P.clone(), Q.clone()
    p[:, 4:] = -torch.inf
    q[:, :2] = -torch.inf
    law = CURRICULA[name].target(CURRICULA[name].start(), p.log_softmax(-1), q.log_softmax(-1), LABEL)
    if name != "constant":
        assert torch.isfinite(law).all()
    assert torch.allclose(law.exp().sum(-1), torch.ones(6, dtype=torch.float64))


def mixed(t: float) -> torch.Tensor:
    return ((1 - t) * logits(1) + t * logits(0)).log_softmax(-1)


@pytest.mark.parametrize("made", [Linear(), TAID()])
def test_laws_are_mixed_in_logit_space(made) -> None:
    for t in (0.0, 0.3, 1.0):
        found = made.target({"t": t}, P, Q, LABEL)
        assert torch.allclose(found, mixed(t))
        if 0 < t < 1:  # a mixture of probabilities is another law
            assert not torch.allclose(found, torch.logaddexp(math.log(t) + P, math.log(1 - t) + Q), atol=1e-2)


def gradient(t: float, made) -> torch.Tensor:
    z = logits(1).requires_grad_()
    q = z.log_softmax(-1)
    (-(made.target({"t": t}, P, q.detach(), LABEL).exp() * q).sum()).backward()
    return z.grad


def test_taid_pulls_from_the_student_to_the_mixture() -> None:
    made = TAID()
    for t in (0.0, 0.4, 1.0):
        assert torch.allclose(gradient(t, made), Q.exp() - mixed(t).exp())
    assert gradient(0.0, made).abs().max() < 1e-12
    assert torch.allclose(gradient(1.0, made), Q.exp() - P.exp())  # forward KL's


def test_taid_goes_by_its_formulas() -> None:
    made = TAID(0.2, 1.0, alpha=0.1, beta=0.9)
    state = made.start()
    t, momentum, before, found = 0.2, 0.0, None, []
    for step, nats in enumerate(LOSSES):
        state = made.observe(state, step, 1000, nats)
        if before is not None:
            momentum = 0.9 * momentum + 0.1 * (before - nats) / (before + 1e-15)
            t = min(1.0, max(0.2 + 0.8 * (step + 1) / 1000, t + 0.1 / (1 + math.exp(-momentum)) * (1 - t)))
        before = nats
        assert state == pytest.approx({"t": t, "momentum": momentum, "before": before})
        found.append(state["t"])
    assert found[0] == 0.2  # the first loss is only remembered
    assert found == sorted(found)


def test_taid_stays_in_its_bounds_whatever_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    for alpha in (0.0, 5e-4, 10.0):
        made = TAID(0.4, 0.9, alpha=alpha)
        state, ts = made.start(), [0.4]
        for step in range(50):
            nats = float(torch.rand(1, generator=generator)) * 10 ** (step % 5 - 3)
            state = made.observe(state, step, 50, nats)
            ts.append(state["t"])
        assert ts == sorted(ts)
        assert max(ts) == 0.9  # there by the last step
        assert made.observe({"t": 0.5, "momentum": 0.0, "before": 0.0}, 1, 50, 1.0)["t"] <= 0.9


def test_linear_is_there_where_it_says() -> None:
    made = Linear(0.2, 0.8, until=0.5)
    state, ts = made.start(), []
    for step in range(21):
        ts.append(state["t"])
        state = made.observe(state, step, 21, 1.0)
    assert ts[0] == 0.2
    assert ts[5] == pytest.approx(0.5)
    assert ts[10:] == pytest.approx([0.8] * 11)


def test_a_share_of_the_target_is_the_label() -> None:
    for alpha in (0.0, 0.25, 1.0):
        want = (1 - alpha) * P.exp()
        want[torch.arange(6), LABEL] += alpha
        assert torch.allclose(GroundTruth(alpha).target(None, P, Q, LABEL).exp(), want)
    assert GroundTruth(0.0).target(None, P, Q, LABEL) is P


def kernel(seed: int, rows: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return x @ x.T + 0.1 * torch.eye(rows, dtype=torch.float64), torch.randn(rows, generator=generator).double()


def smoother(k: torch.Tensor, ridge: float) -> torch.Tensor:
    return k @ torch.linalg.inv(k + ridge * torch.eye(len(k), dtype=torch.float64))


def generations(alpha: float, ridge: float, count: int) -> torch.Tensor:
    """Each is fitted on the label and on what the one before it predicts."""
    k, y = kernel(0)
    fit, smooth = y, smoother(k, ridge)
    for _ in range(count):
        fit = smooth @ (alpha * y + (1 - alpha) * fit)
    return fit


def test_endless_generations_are_one_fit_with_more_regularisation() -> None:
    k, y = kernel(0)
    for alpha in (0.2, 0.7):
        assert torch.allclose(generations(alpha, 0.5, 500), smoother(k, 0.5 / alpha) @ y, atol=1e-12)
        assert not torch.allclose(generations(alpha, 0.5, 500), smoother(k, 0.5) @ y, atol=1e-3)
    assert torch.allclose(generations(1.0, 0.5, 1), generations(1.0, 0.5, 7))  # a fixed point after one step
    assert generations(0.0, 0.5, 500).norm() < 0.6 * generations(0.2, 0.5, 500).norm()  # without labels it withers


def test_the_best_share_of_the_label_is_a_closed_form() -> None:
    """The fit is linear in its targets, so a grid of refits finds what the formula says."""
    k, y = kernel(0)
    smooth = smoother(k, 0.8)
    teacher = smoother(k, 3.0) @ y
    for seed in range(4):
        truth = y + 0.7 * kernel(seed + 1)[1]
        grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
        errors = torch.stack([(smooth @ (alpha * y + (1 - alpha) * teacher) - truth).square().sum() for alpha in grid])
        found = best_alpha(truth, smooth @ y, smooth @ teacher)
        assert found == pytest.approx(float(grid[errors.argmin()]), abs=1e-3)
    assert best_alpha(smooth @ y, smooth @ y, smooth @ teacher) == pytest.approx(1.0)
    assert best_alpha(smooth @ teacher, smooth @ y, smooth @ teacher) == pytest.approx(0.0)
    a, b = smooth @ y, smooth @ teacher
    assert best_alpha(0.3 * a + 0.7 * b, a, b) == pytest.approx(0.3)
    assert best_alpha(0.3 * a + 0.7 * b, b, a) == pytest.approx(0.7)  # the roles matter
    assert best_alpha(2 * a - b, a, b) == 1.0  # cut


def test_knobs_out_of_range_are_refused() -> None:
    for made in (lambda: Linear(1.2), lambda: Linear(until=0.0)):
        with pytest.raises(BadInput, match=r"until in \(0, 1\]"):
            made()
    with pytest.raises(BadInput, match="first <= last"):
        TAID(0.9, 0.4)
    with pytest.raises(BadInput, match="label's share"):
        GroundTruth(-0.1)
    with pytest.raises(BadInput, match="the same"):
        best_alpha(P[0], Q[0], Q[0])
