"""The score of a code that noise hides, in closed form from a teacher's law, and what networks say in its place.

Here noise lies at t = 1: x_t = (1 - t) q + t eps, and a velocity is the mean of eps - q given x_t. With mu the
posterior mean of the code (`flow.posterior_mean` at s = 1 - t) it is (x_t - mu) / t, and the score is
-(x_t - (1 - t) mu) / t^2.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2).
"""

from typing import Protocol

import torch
from torch import Tensor

from decant.images.flow import posterior_mean
from decant.images.layout import Layout


class OnePassStudent(Protocol):
    """A network that says all vectors of an image in one pass. classes: labels are 0 ... classes - 1."""

    @property
    def layout(self) -> Layout: ...

    @property
    def codes_VC(self) -> Tensor: ...

    @property
    def classes(self) -> int: ...

    def draw(self, labels_B: Tensor, eps_BLC: Tensor) -> Tensor:
        """vectors_BLC, one pass. Place i is told from the class, the noise of earlier units, and noise i."""
        ...


def noised(vectors_XC: Tensor, eps_XC: Tensor, t_X1: Tensor) -> Tensor:
    """x_XC on the straight way from the vectors (t = 0) to the noise (t = 1)."""
    return (1 - t_X1) * vectors_XC + t_X1 * eps_XC


def teacher_velocity(x_XC: Tensor, t_X1: Tensor, logp_XV: Tensor, codes_VC: Tensor) -> Tensor:
    """v_XC = E[eps - code | x at time t], 0 < t <= 1, of a code whose law is given. Differentiable in x."""
    return (x_XC - posterior_mean(x_XC, logp_XV, codes_VC, 1 - t_X1)) / t_X1


def code_mean(velocity_XC: Tensor, x_XC: Tensor, t_X1: Tensor) -> Tensor:
    """The posterior mean of the code that a velocity stands for."""
    return x_XC - t_X1 * velocity_XC


def score(velocity_XC: Tensor, x_XC: Tensor, t_X1: Tensor) -> Tensor:
    """The gradient of log p(x_t) that a velocity stands for."""
    return -(x_XC + (1 - t_X1) * velocity_XC) / t_X1


def times(least: float, count: tuple[int, ...], drawing: torch.Generator) -> Tensor:
    """t_X1, uniform in least ... 1 - least: near 0 a law turns to steps, at 1 it says nothing of the vector."""
    return least + (1 - 2 * least) * torch.rand(*count, 1, generator=drawing)
