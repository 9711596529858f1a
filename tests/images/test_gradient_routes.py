"""Which tensors a gradient reaches in the losses of Distilled Decoding 2: each is marked, and seen or not seen.

The table is the one of the method's description: get it wrong and training still runs.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from decant.distill.images import score
from decant.distill.images.score import Draws, Pull, conditional_score, fake_score, frozen, ground_truth
from decant.images.scoring import code_mean, teacher_velocity
from tests.images import velocities

OUTPUT, TRUE_INPUT, OWN_INPUT = "what the generator says", "the teacher's noisy input", "the guidance's noisy input"
TRUE_PREFIX, OWN_PREFIX, WEIGHTS = "the teacher's prefix", "the guidance's prefix", "the guidance's weights"
ROUTES = {
    "csd": {OUTPUT: True, TRUE_INPUT: True, OWN_INPUT: True, TRUE_PREFIX: False, OWN_PREFIX: False, WEIGHTS: False},
    "kl": {OUTPUT: True, TRUE_INPUT: False, OWN_INPUT: False, TRUE_PREFIX: False, OWN_PREFIX: False, WEIGHTS: False},
    "fake": {OUTPUT: False, OWN_INPUT: False, OWN_PREFIX: False, WEIGHTS: True},
    "truth": {TRUE_INPUT: False, OWN_INPUT: False, TRUE_PREFIX: False, OWN_PREFIX: False, WEIGHTS: True},
}


@dataclass
class Marks:
    """Tensors by name, and whether a gradient came by."""

    reached: dict[str, bool] = field(default_factory=dict)

    def on(self, name: str, tensor: Tensor) -> Tensor:
        """The same numbers, watched."""
        watched = tensor.view_as(tensor)
        self.reached.setdefault(name, False)
        if watched.requires_grad:
            watched.register_hook(lambda grad: self.reached.__setitem__(name, bool(grad.abs().sum() > 0)))
        return watched


class MarkedNet(torch.nn.Module):
    """A `VelocityField` that marks what it reads."""

    def __init__(self, marks: Marks) -> None:
        super().__init__()
        self.marks, self.net = marks, velocities.net()

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        return self.net.features(labels_B, self.marks.on(OWN_PREFIX, vectors_BLC))

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        return self.net.velocity(self.marks.on(OWN_INPUT, x_XLC), t_XL1, f_BLD)


@dataclass
class MarkedTeacher:
    """The table, which marks what it reads."""

    marks: Marks
    codes_VC: Tensor = field(default_factory=lambda: velocities.TABLE.codes_VC)

    def laws(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        return velocities.TABLE.laws(labels_B, self.marks.on(TRUE_PREFIX, vectors_BLC))


def routes(monkeypatch: pytest.MonkeyPatch, loss: Callable[..., Tensor]) -> dict[str, bool]:
    """What a loss reached. loss: (net, teacher, labels_B, vectors_BLC, draws), the vectors with gradients."""
    marks = Marks()
    net, teacher = MarkedNet(marks), MarkedTeacher(marks)

    def watched(x_XC: Tensor, *rest: Any) -> Tensor:
        return teacher_velocity(marks.on(TRUE_INPUT, x_XC), *rest)

    monkeypatch.setattr(score, "teacher_velocity", watched)
    drawing = torch.Generator().manual_seed(0)
    labels_B = torch.randint(2, (8,), generator=drawing)
    leaf_BLC = torch.randn(8, 2, 2, generator=drawing).requires_grad_()
    vectors_BLC = marks.on(OUTPUT, leaf_BLC)
    loss(net, teacher, labels_B, vectors_BLC, Draws.of(vectors_BLC.detach(), 3, drawing)).backward()
    marks.reached[WEIGHTS] = any(weight.grad is not None for weight in net.parameters())
    return marks.reached


@pytest.mark.parametrize("gap", ["csd", "kl"])
def test_the_generator_s_loss(gap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert routes(monkeypatch, partial(conditional_score, pull=Pull(gap))) == ROUTES[gap]


def test_the_guidance_network_s_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(net: Any, teacher: Any, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws) -> Tensor:
        return fake_score(net, labels_B, vectors_BLC, draws)

    assert routes(monkeypatch, loss) == ROUTES["fake"]


def test_the_loss_on_the_teacher_s_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(net: Any, teacher: Any, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws) -> Tensor:
        return ground_truth(net, teacher, labels_B, torch.ones(8, 2, dtype=torch.int64), draws)

    assert routes(monkeypatch, loss) == {**ROUTES["truth"], OUTPUT: False}


def flat(bug: str) -> Callable[..., Tensor]:
    """The loss once more, in one piece and unweighted, with or without a bug."""

    def loss(net: Any, teacher: Any, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws) -> Tensor:
        prefix_BLC = vectors_BLC if bug == "undetached prefix" else vectors_BLC.detach()
        logp_BLV, f_BLD = teacher.laws(labels_B, prefix_BLC), net.features(labels_B, prefix_BLC)
        x_MBLC, t_MBL1 = draws.hide(vectors_BLC), draws.t_MBL1
        if bug == "detached noised input":
            x_MBLC = x_MBLC.detach()
        if bug == "trained guidance":
            velocity_MBLC = net.velocity(x_MBLC, t_MBL1, f_BLD)
        else:
            with frozen(net):
                velocity_MBLC = net.velocity(x_MBLC, t_MBL1, f_BLD.detach() if bug != "undetached prefix" else f_BLD)
        made_MBLC = code_mean(velocity_MBLC, x_MBLC, t_MBL1)
        true_MBLC = code_mean(score.teacher_velocity(x_MBLC, t_MBL1, logp_BLV, teacher.codes_VC), x_MBLC, t_MBL1)
        return ((true_MBLC - made_MBLC) * (made_MBLC - vectors_BLC)).sum(-1).mean()

    return loss


def test_in_one_piece_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes, value and gradient."""
    assert routes(monkeypatch, flat("")) == ROUTES["csd"]
    found = []
    for loss in (flat(""), partial(conditional_score, pull=Pull(weight="one"))):
        drawing = torch.Generator().manual_seed(0)
        labels_B, leaf_BLC = torch.tensor([0, 1, 1]), torch.randn(3, 2, 2, generator=drawing).requires_grad_()
        value = loss(velocities.net(), velocities.TABLE, labels_B, leaf_BLC, Draws.of(leaf_BLC.detach(), 2, drawing))
        found.append((value.detach(), torch.autograd.grad(value, leaf_BLC)[0]))
    assert torch.allclose(found[0][0], found[1][0], atol=1e-6)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6)


@pytest.mark.parametrize("bug", ["detached noised input", "undetached prefix", "trained guidance"])
def test_bugs_are_seen(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert routes(monkeypatch, flat(bug)) != ROUTES["csd"]


def test_a_weight_by_distance_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image's is that of its own, so a batch of one and a batch of two agree."""
    drawing = torch.Generator().manual_seed(0)
    labels_B, leaf_BLC = torch.tensor([0, 1]), torch.randn(2, 2, 2, generator=drawing).requires_grad_()
    draws = Draws.of(leaf_BLC.detach(), 3, drawing)
    both = conditional_score(velocities.net(), velocities.TABLE, labels_B, leaf_BLC, draws, Pull())
    one = conditional_score(
        velocities.net(),
        velocities.TABLE,
        labels_B[:1],
        leaf_BLC[:1],
        Draws(draws.eps_MBLC[:, :1], draws.t_MBL1[:, :1]),
        Pull(),
    )
    (pulls_BLC,) = torch.autograd.grad(both, leaf_BLC, retain_graph=True)
    (pull_BLC,) = torch.autograd.grad(one, leaf_BLC)
    assert torch.allclose(pulls_BLC[:1] * 2, pull_BLC[:1], atol=1e-6)
