"""What objectives on states say of states that somebody wrote down."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from decant.distill.objectives.attention_relations import AttentionRelations
from decant.distill.objectives.hidden_states import HiddenStates
from decant.distill.objectives.mutual_information import bound
from decant.distill.objectives.ofa import enhanced
from decant.distill.objectives.token_relations import TokenRelations
from decant.distill.seams import Study
from decant.distill.texts import Positions, Text, TextBatch, padded
from decant.models.student import States


@dataclass
class Given:
    states: States


def made_up(p_BTD: Tensor, q_BTD: Tensor, batch: TextBatch) -> Study:
    """States that somebody wrote down, of layer -1; attention as well."""
    at = Positions.of(batch)

    def states(made_BTD: Tensor) -> States:
        found = (made_BTD, made_BTD.roll(1, -1), -made_BTD)
        return States(made_BTD[at.row_N, at.at_N], lambda hidden: hidden, 3, {-1: made_BTD}, {-1: found})

    signal: object = Given(states(p_BTD))
    return Study(batch, at, states(q_BTD), signal, lambda p, q, label: p, 0)  # type: ignore[arg-type]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_relation_is_a_law_over_what_is_seen() -> None:
    batch = padded([Text.answer([1, 2, 3, 4], 2)], 99)
    p_BTD, q_BTD = drawn(1, 4, 6), drawn(1, 4, 4, seed=1)
    found = AttentionRelations(heads=2, relations="q")(made_up(p_BTD, q_BTD, batch))
    want = []
    for at in (1, 2):
        heads = []
        for head in range(2):
            laws = []
            for vectors_TD in (p_BTD[0], q_BTD[0]):
                width = vectors_TD.shape[-1] // 2
                one = vectors_TD[:, head * width : (head + 1) * width]
                laws.append(torch.stack([one[at] @ one[to] / width**0.5 for to in range(at + 1)]).softmax(-1))
            heads.append((laws[0] * (laws[0] / laws[1]).log()).sum())
        want.append(torch.stack(heads).mean())
    torch.testing.assert_close(found, torch.stack(want))


def test_channels_inside_a_relation_head_may_change_places() -> None:
    batch = padded([Text.answer([1, 2, 3, 4, 5], 1)], 99)
    p_BTD, q_BTD = drawn(1, 5, 8), drawn(1, 5, 8, seed=1)
    objective = AttentionRelations(heads=2, relations="qv")
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6, 7])

    def moved(to: Tensor) -> Tensor:
        study = made_up(p_BTD, q_BTD, batch)
        parts = tuple(one[..., to] for one in study.student.attention[-1])
        return objective(replace(study, student=replace(study.student, attention={-1: parts})))

    torch.testing.assert_close(moved(order), moved(torch.arange(8)))
    assert not torch.allclose(moved(torch.tensor([4, 1, 2, 3, 0, 5, 6, 7])), moved(torch.arange(8)))


def test_a_graph_is_a_law_over_the_others() -> None:
    batch = padded([Text.answer([1, 2, 3, 4, 5], 1)], 99)
    p_BTD, q_BTD = drawn(1, 5, 6), drawn(1, 5, 4, seed=1)
    found = TokenRelations(temperature=0.5, neighbours=None)(made_up(p_BTD, q_BTD, batch))

    def law(one: Tensor, others: list[Tensor]) -> Tensor:
        return torch.stack([torch.cosine_similarity(one, other, dim=0) / 0.5 for other in others]).log_softmax(-1)

    def apart(p: Tensor, q: Tensor) -> Tensor:
        return (p.exp() * (p - q)).sum()

    rows = [[state[at] for at in range(4)] for state in (p_BTD[0], q_BTD[0])]
    graph = [
        apart(*(law(states[at], [other for to, other in enumerate(states) if to != at]) for states in rows))
        for at in range(4)
    ]
    context = apart(*(law(sum(states) / 4, states) for states in rows))
    torch.testing.assert_close(found, torch.stack(graph) + context)
    turned, _ = torch.linalg.qr(drawn(4, 4, seed=2))
    torch.testing.assert_close(
        TokenRelations(temperature=0.5, neighbours=None)(made_up(p_BTD, 3 * q_BTD @ turned, batch)), found
    )


def test_the_nearest_are_the_teachers() -> None:
    batch = padded([Text.answer([1, 2, 3, 4, 5], 1)], 99)
    p_BTD, q_BTD = drawn(1, 5, 6), drawn(1, 5, 4, seed=1)
    knobs = {"temperature": 0.5, "contextual": 0.0}
    few = TokenRelations(neighbours=2, **knobs)(made_up(p_BTD, q_BTD, batch))
    at, states = 1, (p_BTD[0, :4], q_BTD[0, :4])
    cosines = [torch.cosine_similarity(one[at], one, dim=-1) / 0.5 for one in states]
    near = cosines[0].masked_fill(torch.arange(4) == at, -9.0).topk(2).indices
    p, q = (one[near].log_softmax(-1) for one in cosines)
    torch.testing.assert_close(few[at], (p.exp() * (p - q)).sum())


def test_every_token_is_compared_with_in_some_step() -> None:
    batch = padded([Text.answer(list(range(10)), 1)], 99)
    objective = TokenRelations(tokens=4, neighbours=None, contextual=0.0)
    reached = set()
    for step in range(3):
        q_BTD = drawn(1, 10, 4, seed=1).requires_grad_()
        study = replace(made_up(drawn(1, 10, 6), q_BTD, batch), step=step)
        (grad,) = torch.autograd.grad(objective(study)[0], q_BTD)
        reached |= set(grad[0].any(-1).nonzero()[:, 0].tolist())
    assert reached == set(range(9))


def test_at_epsilon_one_ofa_is_the_teachers_cross_entropy() -> None:
    p, q = drawn(5, 7).log_softmax(-1), drawn(5, 7, seed=1).log_softmax(-1)
    label_X = torch.tensor([0, 1, 2, 3, 4])
    torch.testing.assert_close(enhanced(p, q, label_X, 1.0), -(p.exp() * q).sum(-1))
    scores = p.clone().requires_grad_()
    enhanced(p, scores.log_softmax(-1), label_X, 1.0).sum().backward()
    assert scores.grad.abs().max() < 1e-6
    grad = torch.autograd.grad(enhanced(p, one := q.clone().requires_grad_(), label_X, 1.5).sum(), one)[0]
    coefficient_XV, probs_XV = -grad, p.exp()
    is_label_XV = torch.arange(7) == label_X[:, None]
    assert (coefficient_XV > probs_XV)[is_label_XV].all()
    assert (coefficient_XV < probs_XV)[~is_label_XV].all()


def test_at_alpha_one_the_bound_is_info_nce() -> None:
    scores_KK, baseline_K = drawn(6, 6), drawn(6, seed=1)
    want_K = scores_KK.diagonal() - scores_KK.logsumexp(-1) + torch.tensor(6.0).log()
    torch.testing.assert_close(bound(scores_KK, baseline_K, 1.0), want_K)
    f, g = scores_KK[0], baseline_K[0].exp()
    others = f[1:].exp().mean()
    nwj = 1 + f[0] - g.log() - others / g
    torch.testing.assert_close(bound(scores_KK, baseline_K, 0.0)[0], nwj)
    mixed, mixed_others = 0.3 * f.exp().mean() + 0.7 * g, 0.3 * others + 0.7 * g
    torch.testing.assert_close(bound(scores_KK, baseline_K, 0.3)[0], 1 + f[0] - mixed.log() - others / mixed_others)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 0.9, 1.0])
def test_noise_says_nothing_and_copies_say_much(alpha: float) -> None:
    """300 texts of 8 states on a sphere. Strangers meet a critic that hardly cares, whose bound is just below 0: one
    that is ten standard errors, 0.06 nats, too large is seen. Copies meet one that cares."""
    x_UKD, other_UKD = (functional.normalize(drawn(300, 8, 3, seed=seed), dim=-1) for seed in (0, 1))
    found = []
    for y_UKD, sharp in ((other_UKD, 0.5), (x_UKD, 4.0)):
        log_g_K = torch.full((8,), math.sinh(sharp) / sharp).log()  # the mean of e^f over the sphere
        nats = [bound(sharp * y @ x.T, log_g_K, alpha).mean() for x, y in zip(x_UKD, y_UKD, strict=True)]
        found.append(torch.stack(nats))
    assert found[0].std() / 300**0.5 < 0.006
    assert -0.1 < found[0].mean() < 0.02
    assert 1.0 < found[1].mean() <= math.log(8 / alpha)


def test_with_the_positive_among_strangers_copies_would_say_less() -> None:
    """The pitfall of the card: a pair that counts as a stranger is pushed away."""
    scores_KK = 20 * torch.eye(6)
    right = bound(scores_KK, torch.zeros(6), 0.5)
    f = scores_KK[0]
    planted = 1 + f[0] - (0.5 * f.exp().mean() + 0.5).log() - (f.exp() / (0.5 * f.exp().mean() + 0.5)).mean()
    assert right[0] > planted + 0.5


def test_layers_are_mapped_evenly() -> None:
    assert HiddenStates.evenly(4, 12) == ((1, 3), (2, 6), (3, 9), (4, 12))
    assert HiddenStates.evenly(3, 4)[-1] == (3, 4)


def test_a_distance_of_states_is_averaged_over_channels_and_pairs() -> None:
    batch = padded([Text.answer([1, 2, 3], 1)], 99)
    p_BTD, q_BTD = drawn(1, 3, 6), drawn(1, 3, 6, seed=1)
    found = HiddenStates()(made_up(p_BTD, q_BTD, batch))
    torch.testing.assert_close(found, (p_BTD - q_BTD)[0, :2].square().mean(-1))
    angles = HiddenStates(distance="cosine")(made_up(p_BTD, 5 * p_BTD, batch))
    assert angles.abs().max() < 1e-6
    widths = (SimpleNamespace(hidden_size=16), SimpleNamespace(hidden_size=24))
    assert HiddenStates().extra(widths[0], widths[0]) is None
    with torch.random.fork_rng():
        made = HiddenStates(((0, 0), (1, 1))).extra(*widths)
    assert made is not None
    assert [tuple(weight.shape) for weight in made.parameters()] == [(24, 16), (24, 16)]
