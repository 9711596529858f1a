"""The teacher's velocity is the mean of eps - q, and what networks are taught follows from it.

Power: means of 40,000 draws; an offset of 0.05 of a standard deviation is refused all but always.
"""

from dataclasses import dataclass
from typing import final

import pytest
import torch
from torch import Tensor

from decant.distill.images.score import Draws, Pull, conditional_score, fake_score
from decant.images.scoring import noised, score, teacher_velocity, times
from decant.testing.tables import SECOND, TableTeacher

DRAWS = 40_000
FAR = 4.5  # standard errors: fewer than one in 100,000 is farther
TABLE = TableTeacher()
LAW = torch.tensor([0.6, 0.3, 0.1])


def drawing(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coded(law_V: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Codes of a law, noise, times, and the noisy codes."""
    at = drawing(seed)
    vectors_XC = TABLE.codes_VC[torch.multinomial(law_V, DRAWS, replacement=True, generator=at)]
    eps_XC, t_X1 = torch.randn(DRAWS, 2, generator=at), times(0.02, (DRAWS,), at)
    return vectors_XC, eps_XC, t_X1, noised(vectors_XC, eps_XC, t_X1)


def errors(values_XF: Tensor) -> Tensor:
    """How many standard errors each mean is away from zero."""
    return values_XF.mean(0) / (values_XF.std(0) / len(values_XF) ** 0.5)


def left_over(velocity_XC: Tensor, wanted_XC: Tensor, x_XC: Tensor, t_X1: Tensor) -> Tensor:
    """Products of what a velocity leaves with functions of x and t: a conditional mean leaves nothing to any."""
    probes_XF = torch.cat([torch.ones_like(t_X1), t_X1, x_XC, x_XC.square(), (x_XC > 0.3).float()], dim=1)
    return ((wanted_XC - velocity_XC)[:, :, None] * probes_XF[:, None]).flatten(1)


def test_the_velocity_is_the_mean_of_noise_minus_code() -> None:
    vectors_XC, eps_XC, t_X1, x_XC = coded(LAW)
    velocity_XC = teacher_velocity(x_XC, t_X1, LAW.log(), TABLE.codes_VC)
    assert errors(left_over(velocity_XC, eps_XC - vectors_XC, x_XC, t_X1)).abs().max() < FAR


@pytest.mark.parametrize("bug", ["another law", "time runs backwards"])
def test_another_velocity_is_not(bug: str) -> None:
    vectors_XC, eps_XC, t_X1, x_XC = coded(LAW)
    law_V = torch.tensor([0.5, 0.4, 0.1]) if bug == "another law" else LAW
    at_X1 = 1 - t_X1 if bug == "time runs backwards" else t_X1
    velocity_XC = teacher_velocity(x_XC, at_X1, law_V.log(), TABLE.codes_VC)
    assert errors(left_over(velocity_XC, eps_XC - vectors_XC, x_XC, t_X1)).abs().max() > 2 * FAR


def test_score_and_velocity_say_the_same() -> None:
    """Against the gradient of the log-density, written out; float64."""
    codes_VC, t_X1 = TABLE.codes_VC.double(), torch.linspace(0.05, 0.95, 50, dtype=torch.float64)[:, None]
    x_XC = torch.randn(50, 2, generator=drawing(), dtype=torch.float64).requires_grad_()
    log_XV = LAW.double().log() - (x_XC[:, None] - (1 - t_X1[..., None]) * codes_VC).square().sum(-1) / (2 * t_X1**2)
    (wanted_XC,) = torch.autograd.grad(log_XV.logsumexp(-1).sum(), x_XC)
    velocity_XC = teacher_velocity(x_XC, t_X1, LAW.double().log(), codes_VC)
    said_XC = score(velocity_XC, x_XC, t_X1)
    assert torch.allclose(said_XC, wanted_XC, atol=1e-5)
    assert torch.allclose(-(t_X1 * said_XC + x_XC) / (1 - t_X1), velocity_XC, atol=1e-5)


def test_what_cannot_come_pulls_nothing() -> None:
    logp_V = torch.tensor([0.5, 0.5, 0.0]).log()
    x_XC = TABLE.codes_VC[2].expand(1, 2)
    velocity_XC = teacher_velocity(x_XC, torch.full((1, 1), 0.02), logp_V, TABLE.codes_VC)
    assert velocity_XC.isfinite().all()
    assert not torch.allclose(x_XC - 0.02 * velocity_XC, TABLE.codes_VC[2], atol=0.1)


@final
@dataclass(frozen=True, slots=True)
class _Field:
    """The exact velocity of images whose second place follows `second`, behind the first one; class 0."""

    second_VV: Tensor
    moved: Tensor

    def law(self, vectors_BLC: Tensor) -> Tensor:
        """logp_BLV."""
        first_BV = TABLE.laws(torch.zeros(len(vectors_BLC), dtype=torch.int64), vectors_BLC)[:, 0]
        near_B = torch.cdist(vectors_BLC[:, 0], TABLE.codes_VC).argmin(-1)
        return torch.stack([first_BV, self.second_VV[near_B].log()], dim=1)

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """The law itself."""
        return self.law(vectors_BLC)

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        """Exact where nothing is moved."""
        return teacher_velocity(x_XLC, t_XL1, f_BLD, TABLE.codes_VC) + self.moved


class _Net(torch.nn.Module):
    """As a module with a weight."""

    def __init__(self, second_VV: Tensor) -> None:
        super().__init__()
        self.moved = torch.nn.Parameter(torch.zeros(2))
        self.field = _Field(second_VV, self.moved)
        self.features, self.velocity = self.field.features, self.field.velocity


TRUE = torch.tensor(SECOND)[0]
OTHER = torch.tensor([[0.2, 0.5, 0.3]]).expand(3, 3)


def made(second_VV: Tensor, seed: int = 0) -> tuple[Tensor, Tensor, Draws]:
    """labels_B, vectors_BLC of images whose second place follows `second`, and noises of them."""
    at = drawing(seed)
    first_B = torch.multinomial(TABLE.joint(0).sum(1), DRAWS, replacement=True, generator=at)
    second_B = torch.multinomial(second_VV[first_B], 1, generator=at)[:, 0]
    vectors_BLC = TABLE.codes_VC[torch.stack([first_B, second_B], dim=1)]
    return torch.zeros(DRAWS, dtype=torch.int64), vectors_BLC, Draws.of(vectors_BLC, 1, at)


def test_at_the_fixed_point_the_generator_is_not_pulled() -> None:
    """It makes what the teacher makes, and the guidance network knows it."""
    labels_B, vectors_BLC, draws = made(TRUE)
    for gap in ("csd", "kl"):
        vectors_BLC = vectors_BLC.detach().requires_grad_()
        loss = conditional_score(_Net(TRUE), TABLE, labels_B, vectors_BLC, draws, Pull(gap))
        (pull_BLC,) = torch.autograd.grad(loss * DRAWS, vectors_BLC)
        assert pull_BLC.abs().mean() < 2e-3, "the table's own softness is all that is left"


@pytest.mark.parametrize("gap", ["csd", "kl"])
def test_elsewhere_it_is_pulled_where_it_differs(gap: str) -> None:
    labels_B, vectors_BLC, draws = made(OTHER)
    vectors_BLC.requires_grad_()
    loss = conditional_score(_Net(OTHER), TABLE, labels_B, vectors_BLC, draws, Pull(gap))
    (pull_BLC,) = torch.autograd.grad(loss * DRAWS, vectors_BLC)
    assert pull_BLC[:, 1].abs().mean() > 0.05
    assert pull_BLC[:, 0].abs().mean() < 2e-3, "the first place is right, and what stands behind it pulls nothing"


def test_at_the_fixed_point_the_guidance_network_stays() -> None:
    labels_B, vectors_BLC, draws = made(TRUE)
    net = _Net(TRUE)
    parts_B2 = torch.stack([_pull(net, labels_B, vectors_BLC, draws, rows) for rows in torch.arange(DRAWS).chunk(200)])
    assert errors(parts_B2).abs().max() < FAR
    net = _Net(OTHER)
    parts_B2 = torch.stack([_pull(net, labels_B, vectors_BLC, draws, rows) for rows in torch.arange(DRAWS).chunk(200)])
    assert errors(parts_B2).abs().max() > 2 * FAR, "a network that is wrong is moved"


def _pull(net: _Net, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws, rows_R: Tensor) -> Tensor:
    some = Draws(draws.eps_MBLC[:, rows_R], draws.t_MBL1[:, rows_R])
    loss = fake_score(net, labels_B[rows_R], vectors_BLC[rows_R], some)
    return torch.autograd.grad(loss, net.moved)[0]


def test_the_loss_is_nought_or_the_distance_of_the_scores() -> None:
    """With a guidance network that is exact: alpha = 1 has a mean of 0, alpha = 0 of the squared gap of the means."""
    labels_B, vectors_BLC, draws = made(OTHER)
    net, x_MBLC = _Net(OTHER), draws.hide(vectors_BLC)
    true_MBLC, own_MBLC = (
        draws.t_MBL1 * teacher_velocity(x_MBLC, draws.t_MBL1, law_BLV, TABLE.codes_VC)
        for law_BLV in (TABLE.laws(labels_B, vectors_BLC), net.field.law(vectors_BLC))
    )
    gap = float((true_MBLC - own_MBLC).square().sum(-1).mean())
    losses = [
        float(conditional_score(net, TABLE, labels_B, vectors_BLC, draws, Pull(alpha=alpha, weight="one")).detach())
        for alpha in (1.0, 0.0)
    ]
    assert abs(losses[0]) < 0.03 * gap
    assert abs(losses[1] - gap) < 0.03 * gap
