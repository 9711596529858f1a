"""The objectives that are no divergences: an order of tokens, and a plan that carries a group of laws to another."""

import pytest
import torch

from decant.distill.objectives.plackett_luce import PlackettLuce
from decant.distill.objectives.sinkhorn import Sinkhorn
from decant.errors import BadInput
from tests.distill.known import Known, Told, batch_of, noise, study

VOCAB, ROWS = 7, 20
CLOSE = torch.testing.assert_close


def laws(rows: int = ROWS):
    p, q = (noise(rows, VOCAB, seed=seed).log_softmax(-1) for seed in (0, 1))
    return p, q, torch.arange(rows) % VOCAB


def by_hand(p, q, label: int, ranks: int, repeats_label: bool = False) -> float:
    """One row, a rank at a time."""
    order = [label, *(int(at) for at in p.argsort(descending=True) if repeats_label or at != label)]
    return sum(float(p[at].exp() * (q[order[rank:]].logsumexp(-1) - q[at])) for rank, at in enumerate(order[:ranks]))


@pytest.mark.parametrize("ranks", [1, 3, VOCAB, 100])
def test_plackett_luce_by_hand(ranks) -> None:
    p, q, label_X = laws()
    wanted = [by_hand(p[row], q[row], int(label_X[row]), ranks) for row in range(ROWS)]
    CLOSE(PlackettLuce(ranks).nats(p, q, label_X), torch.tensor(wanted).double())
    if ranks > 1:  # the label stays at its old place, too
        twice = [by_hand(p[row], q[row], int(label_X[row]), ranks, repeats_label=True) for row in range(ROWS)]
        assert not torch.allclose(PlackettLuce(ranks).nats(p, q, label_X), torch.tensor(twice).double(), rtol=1e-3)


def test_plackett_luce_is_cross_entropy_where_the_teacher_is_sure_of_the_label() -> None:
    _, q, label_X = laws()
    sure = torch.nn.functional.one_hot(label_X, VOCAB).double().log()
    CLOSE(PlackettLuce().nats(sure, q, label_X), -q.gather(-1, label_X[:, None])[:, 0])


def test_plackett_luce_is_convex_in_the_logits() -> None:
    p, q, label_X = laws(3)
    for row in range(3):

        def nats(logits_V, row=row):
            return PlackettLuce().nats(p[row][None], logits_V.log_softmax(-1)[None], label_X[row : row + 1]).sum()

        curved_VV = torch.autograd.functional.hessian(nats, q[row])
        assert torch.linalg.eigvalsh(curved_VV).min() > -1e-9
        slope = torch.autograd.functional.jacobian(nats, q[row])
        assert abs(slope.sum()) < 1e-9


def test_plackett_luce_is_smallest_elsewhere_than_at_the_teacher() -> None:
    p, _, label_X = laws()
    logits = p.clone().requires_grad_()
    (slope,) = torch.autograd.grad(PlackettLuce().nats(p, logits.log_softmax(-1), label_X).sum(), logits)
    assert slope.abs().max() > 0.1


def test_plackett_luce_does_not_know_the_order_of_ids() -> None:
    p, q, label_X = laws()
    order_V = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(0))
    moved = PlackettLuce(3).nats(p[:, order_V], q[:, order_V], order_V.argsort()[label_X])
    CLOSE(moved, PlackettLuce(3).nats(p, q, label_X))


def extremes():
    never, sure = torch.tensor([0.0, 1.0, -torch.inf, -torch.inf]), torch.tensor([1e4, -1e4, 0.0, -1e4])
    rows = (never, sure, sure.flip(0), torch.tensor([0.0, *[-torch.inf] * 3]), torch.zeros(4))
    return torch.stack([row for row in rows for _ in rows]), torch.stack([row for _ in rows for row in rows])


@pytest.mark.parametrize("label", range(4))
@pytest.mark.parametrize("objective", [PlackettLuce(), PlackettLuce(2), Sinkhorn(), Sinkhorn(debiased=True)], ids=repr)
def test_values_and_slopes_are_finite(objective, label) -> None:
    teacher, logits = extremes()
    logits.requires_grad_()
    batch = batch_of(len(logits) + 1, vocab=4)
    batch.ids_BT.fill_(label)
    found_N = objective(study(Known(logits), Told(teacher.log_softmax(-1)), batch))
    found_N.sum().backward()
    assert found_N.isfinite().all()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("objective", [PlackettLuce(3), Sinkhorn(), Sinkhorn(debiased=True)], ids=repr)
def test_slopes(objective) -> None:
    batch = batch_of(5, vocab=VOCAB)
    told = Told(noise(4, VOCAB).log_softmax(-1))
    logits = noise(4, VOCAB, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda logits: objective(study(Known(logits), told, batch)), logits)


def far(p, q):
    return ((p / 2).softmax(-1)[None] - (q / 2).softmax(-1)[:, None]).abs().sum(-1)


def test_a_group_of_one_costs_its_distance() -> None:
    p, q, _ = laws(1)
    CLOSE(Sinkhorn().costs(p, q), far(p, q)[0])


def test_the_plan_by_hand() -> None:
    p, q, _ = laws(5)
    plan = (-far(p, q) / 0.1).exp()
    for _ in range(20):
        plan = plan / plan.sum(1, keepdim=True)
        plan = plan / plan.sum(0, keepdim=True)
    CLOSE(plan.sum(), torch.tensor(5.0).double())  # all that there is was carried
    CLOSE(Sinkhorn().costs(p, q), (plan * far(p, q)).sum(1))
    order = torch.tensor([3, 0, 4, 1, 2])
    CLOSE(Sinkhorn().costs(p[order], q[order]), Sinkhorn().costs(p, q)[order])


def test_only_without_its_bias_do_equal_laws_cost_nothing() -> None:
    p, _, _ = laws(5)
    assert Sinkhorn(epsilon=1.0).costs(p, p).sum() > 0.1
    assert Sinkhorn(epsilon=1.0, debiased=True).costs(p, p).abs().max() < 1e-9
    logits = p.clone().requires_grad_()
    fair = Sinkhorn(epsilon=1.0, iterations=500, debiased=True)
    (slope,) = torch.autograd.grad(fair.costs(p, logits.log_softmax(-1)).sum(), logits)
    assert slope.abs().max() < 1e-6


def test_groups_do_not_cross_texts() -> None:
    row_N = torch.tensor([0] * 5 + [1] * 2 + [3] * 4)
    assert Sinkhorn(group=3).groups(row_N) == [slice(0, 3), slice(3, 5), slice(5, 7), slice(7, 10), slice(10, 11)]


def test_impossible_knobs_are_refused() -> None:
    with pytest.raises(BadInput, match="k must be at least 1"):
        PlackettLuce(0)
    with pytest.raises(BadInput, match="epsilon above 0"):
        Sinkhorn(epsilon=0.0)
