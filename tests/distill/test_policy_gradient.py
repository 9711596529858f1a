"""The policy gradient: its expectation is the gradient of the sequence's KL, and no step counts twice."""

from dataclasses import replace
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor

from decant.distill.divergences.reverse_kl import ReverseKL
from decant.distill.objectives import policy_gradient
from decant.distill.objectives.pointwise import Pointwise
from decant.distill.objectives.policy_gradient import PolicyGradient, later
from decant.distill.seams import Study, by_chunks
from decant.distill.texts import Positions, Text, padded
from decant.errors import BadInput
from tests.distill.known import Known, Told, batch_of, noise, study

VOCAB, EXACT = 3, PolicyGradient(scale=1.0, gamma=1.0, mean=False, whiten=False, epsilon=float("inf"))
ANSWERS = list(product(range(VOCAB), repeat=2))
SINGLE = Pointwise(ReverseKL())


def laws(table_4V: Tensor) -> Tensor:
    """logp_NV of all answers of two tokens behind one prompt: row 0 of the table speaks first, row 1 + y second."""
    rows = [row for first, _ in ANSWERS for row in (0, 1 + first)]
    return table_4V[rows].log_softmax(-1)


def told(q_4V: Tensor, p_4V: Tensor) -> tuple[Study, Tensor]:
    """A study of all answers, each once, and the probability of each."""
    batch = padded([Text.answer([0, *answer], 1) for answer in ANSWERS], 9)
    q_NV = laws(q_4V)
    own_A2 = q_NV.gather(-1, Positions.of(batch).label_N[:, None]).reshape(-1, 2).detach()
    batch = replace(batch, logp_BT=torch.cat([torch.zeros(len(own_A2), 1), own_A2], 1))
    return study(Known(q_NV), Told(laws(p_4V)), batch), own_A2.sum(1).exp()


def expected(objectives, q_4V: Tensor, p_4V: Tensor) -> Tensor:
    """The mean gradient over answers that the student draws."""
    found, chance_A = told(q_4V, p_4V)
    nats_A = sum(objective(found) for objective in objectives).reshape(-1, 2).sum(1)
    return torch.autograd.grad((chance_A * nats_A).sum(), q_4V)[0]


def enumerated(q_4V: Tensor, p_4V: Tensor) -> Tensor:
    """The gradient of KL(q || p) over whole answers."""
    q_A, p_A = (
        torch.stack([one[0, first] + one[1 + first, second] for first, second in ANSWERS])
        for one in (q_4V.log_softmax(-1), p_4V.log_softmax(-1))
    )
    return torch.autograd.grad((q_A.exp() * (q_A - p_A)).sum(), q_4V)[0]


def tables() -> tuple[Tensor, Tensor]:
    return noise(4, VOCAB).requires_grad_(), noise(4, VOCAB, seed=1)


def from_here(values_N: Tensor, at: Positions, gamma: float) -> Tensor:
    """The mistake: a token's own reward is in its return."""
    return values_N + later(values_N, at, gamma)


def test_the_mean_gradient_is_that_of_the_sequences_kl() -> None:
    q, p = tables()
    torch.testing.assert_close(expected([EXACT, SINGLE], q, p), enumerated(q, p))


def test_a_step_that_counts_twice_is_seen(monkeypatch) -> None:
    q, p = tables()
    monkeypatch.setattr(policy_gradient, "later", from_here)
    torch.testing.assert_close(expected([EXACT], q, p), enumerated(q, p))  # right, but with more noise
    assert (expected([EXACT, SINGLE], q, p) - enumerated(q, p)).abs().max() > 0.05


def test_importance_weights_make_up_for_whom_the_answers_are_from() -> None:
    q, p = tables()
    found, _ = told(q, p)
    other_A2 = noise(len(ANSWERS), 2, seed=2).log_softmax(0)  # any law of these answers, not a product of tokens
    batch = replace(found.batch, logp_BT=torch.cat([torch.zeros(len(other_A2), 1), other_A2], 1))
    nats_A2 = EXACT(replace(found, batch=batch)).reshape(-1, 2)
    own_A2 = EXACT(found).reshape(-1, 2)
    ratio_A2 = (found.batch.logp_BT[:, 1:] - other_A2).exp()
    torch.testing.assert_close(nats_A2, own_A2 * ratio_A2)


def test_what_is_too_far_from_who_drew_it_teaches_nothing() -> None:
    q, p = tables()
    found, _ = told(q, p)
    clipped = replace(EXACT, epsilon=0.2)
    torch.testing.assert_close(clipped(found), EXACT(found))
    batch = replace(found.batch, logp_BT=found.batch.logp_BT - 1.0)  # the student has come to like all of them more
    nats_N = clipped(replace(found, batch=batch))
    slopes = torch.autograd.grad(nats_N.sum(), q, retain_graph=True)[0]
    good_N = EXACT(found) < 0  # they are worth it, and far enough
    assert good_N.any()
    assert (nats_N[good_N] == 1.2 * EXACT(found)[good_N]).all()
    assert torch.equal(torch.autograd.grad(nats_N[good_N].sum(), q)[0], torch.zeros_like(slopes))
    assert slopes.abs().max() > 0.1  # those that are not are still pushed down


@pytest.mark.parametrize("objective", [PolicyGradient(), replace(PolicyGradient(), whiten=False), EXACT])
def test_a_student_that_is_its_teacher_has_nothing_to_gain(objective) -> None:
    q, _ = tables()
    nats_N = objective(told(q, q.detach())[0])
    assert torch.equal(nats_N, torch.zeros_like(nats_N))
    slopes = torch.autograd.grad(nats_N.sum(), q)[0]
    assert torch.equal(slopes, torch.zeros_like(slopes))


def test_rewards_of_what_the_teacher_never_says_are_cut_and_finite() -> None:
    q, p = tables()
    p[:, 0] = -torch.inf
    for objective in (PolicyGradient(), replace(EXACT, most=100.0)):
        nats_N = objective(told(q, p)[0])
        assert nats_N.isfinite().all()
        assert torch.autograd.grad(nats_N.sum(), q)[0].isfinite().all()
    assert nats_N.max() == 100.0


def test_ids_that_the_teacher_does_not_have_are_what_it_never_says() -> None:
    q, p = tables()
    found, _ = told(q, p)
    narrow = replace(found, signal=Told(laws(p[:, :2])))
    nats_A2 = EXACT(narrow).reshape(-1, 2)
    strange_A = torch.tensor([second == 2 for _, second in ANSWERS])
    assert (nats_A2[strange_A, 0] == 100.0).all()
    assert (nats_A2[~strange_A, 0] < 100.0).all()


def test_returns_stay_within_their_text_and_are_discounted() -> None:
    at = Positions.of(batch_of(4, 3, vocab=VOCAB))
    values_N = torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0])
    assert later(values_N, at, 1.0).tolist() == [6.0, 4.0, 0.0, 16.0, 0.0]
    assert later(values_N, at, 0.5).tolist() == [2.0, 2.0, 0.0, 8.0, 0.0]
    assert later(values_N, at, 0.0).tolist() == [0.0] * 5


def test_a_long_answer_weighs_no_more_than_a_short_one() -> None:
    batch = replace(batch_of(9, 3, vocab=VOCAB), numbers_B=torch.tensor([-1, -1]))
    q_NV = torch.zeros(10, VOCAB, dtype=torch.float64)
    p_NV = torch.full_like(q_NV, -7.0)  # every id costs the same
    found = study(Known(q_NV), Told(p_NV), replace(batch, logp_BT=torch.full((2, 9), -torch.log(torch.tensor(3.0)))))
    nats_N = replace(EXACT, mean=True)(found)
    last_N = torch.tensor([at in {7, 9} for at in range(10)])
    torch.testing.assert_close(nats_N[~last_N], nats_N[:1].expand(8))
    assert nats_N[0] > 5
    assert (EXACT(found)[0] / EXACT(found)[8]).item() == pytest.approx(7)


def test_whitened_returns_have_mean_zero_and_variance_one() -> None:
    q, p = tables()
    worth_N = -replace(EXACT, whiten=True)(told(q, p)[0]).detach()
    assert float(worth_N.mean()) == pytest.approx(0, abs=1e-6)
    assert float(worth_N.var(correction=0)) == pytest.approx(1, abs=1e-6)


def test_chunks_do_not_matter(monkeypatch) -> None:
    q, p = tables()
    whole = PolicyGradient()(told(q, p)[0])
    monkeypatch.setattr(policy_gradient, "by_chunks", partial(by_chunks, elements=4 * VOCAB))
    pieces = PolicyGradient()(told(q, p)[0])
    torch.testing.assert_close(pieces, whole)
    weight_N = noise(18, seed=3)
    slopes = [torch.autograd.grad((nats_N * weight_N).sum(), q)[0] for nats_N in (pieces, whole)]
    torch.testing.assert_close(*slopes)


def test_texts_of_the_data_set_are_refused() -> None:
    q, p = tables()
    found, _ = told(q, p)
    batch = replace(found.batch, numbers_B=torch.arange(len(ANSWERS)))
    with pytest.raises(BadInput, match="take the rollouts mixed_policy"):
        EXACT(replace(found, batch=batch))
    with pytest.raises(BadInput, match="above 0"):
        PolicyGradient(scale=0)
