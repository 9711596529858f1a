"""What the networks of Distilled Decoding 2 are taught: three losses, each a mean over places of what a row sums up.

`ground_truth` teaches a network the teacher's velocity on the teacher's own images; `fake_score` teaches the guidance
network the velocity of what the generator makes; `conditional_score` teaches the generator to make what the teacher
finds as likely as the guidance network does, place by place behind its own earlier places. Which tensors a gradient
reaches: in `conditional_score` the vectors themselves and, through both velocities, their noisy copies; neither what a
place stands behind, nor the guidance network's weights.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2); Zhou et al. 2024, arXiv:2404.04057 (SiD); Yin et al.
2024, arXiv:2405.14867 (DMD2).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, final

import torch
from torch import Generator, Tensor, nn

from decant.errors import BadInput
from decant.images.scoring import code_mean, noised, teacher_velocity, times
from decant.images.seams import AnyTeacher

LEAST: Final = 0.02  # t and 1 - t
FLOOR: Final = 1e-2  # of the mean distance that a weight divides by

Gap = Literal["csd", "kl"]


class VelocityField(Protocol):
    """A network that says velocities; a torch module."""

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        """f_BLD: of place i, from the class and the vectors of earlier units."""
        ...

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        """v_XLC; X is B, or M noises of the same vectors and then B."""
        ...


@final
@dataclass(frozen=True, slots=True, eq=False)
class Draws:
    """M noises of every place: eps_MBLC, standard normal, and their times t_MBL1."""

    eps_MBLC: Tensor
    t_MBL1: Tensor

    @classmethod
    def of(cls, vectors_BLC: Tensor, count: int, drawing: Generator) -> "Draws":
        """So many of each vector; drawn on the CPU, where a seed means the same everywhere."""
        shape, device = (count, *vectors_BLC.shape), vectors_BLC.device
        return cls(torch.randn(shape, generator=drawing).to(device), times(LEAST, shape[:-1], drawing).to(device))

    def hide(self, vectors_BLC: Tensor) -> Tensor:
        """x_MBLC."""
        return noised(vectors_BLC, self.eps_MBLC, self.t_MBL1)


@final
@dataclass(frozen=True, slots=True)
class Pull:
    """How the generator is pulled. gap: "csd", the paper's, or "kl", the same pull as DMD's. alpha: of csd. weight:
    "own": each image's by the reciprocal of its mean distance from the teacher's means; "one": all alike.

    Raises BadInput for other words.
    """

    gap: str = "csd"
    alpha: float = 1.0
    weight: str = "own"

    def __post_init__(self) -> None:
        if self.gap not in ("csd", "kl") or self.weight not in ("own", "one"):
            raise BadInput(f"the gap is csd or kl and the weight own or one, got {self.gap!r} and {self.weight!r}")


def ground_truth(net: VelocityField, teacher: AnyTeacher, labels_B: Tensor, ids_BL: Tensor, draws: Draws) -> Tensor:
    """L_GTS: squared distance of the network's velocity from the teacher's, on codes; a scalar."""
    vectors_BLC = teacher.codes_VC[ids_BL]
    x_MBLC = draws.hide(vectors_BLC)
    wanted_MBLC = teacher_velocity(x_MBLC, draws.t_MBL1, teacher.laws(labels_B, vectors_BLC), teacher.codes_VC)
    said_MBLC = net.velocity(x_MBLC, draws.t_MBL1, net.features(labels_B, vectors_BLC))
    return (said_MBLC - wanted_MBLC).square().sum(-1).mean()


def fake_score(net: VelocityField, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws) -> Tensor:
    """L_FCS: squared distance of the network's velocity from eps - q, on what the generator made; a scalar."""
    vectors_BLC = vectors_BLC.detach()
    x_MBLC = draws.hide(vectors_BLC)
    said_MBLC = net.velocity(x_MBLC, draws.t_MBL1, net.features(labels_B, vectors_BLC))
    return (said_MBLC - (draws.eps_MBLC - vectors_BLC)).square().sum(-1).mean()


def conditional_score(
    net: VelocityField, teacher: AnyTeacher, labels_B: Tensor, vectors_BLC: Tensor, draws: Draws, pull: Pull
) -> Tensor:
    """L_CSD, or the pull of DMD, on vectors with gradients; a scalar whose value says little: it may be negative."""
    behind_BLC = vectors_BLC.detach()
    with torch.no_grad():
        logp_BLV, f_BLD = teacher.laws(labels_B, behind_BLC), net.features(labels_B, behind_BLC)
    x_MBLC = draws.hide(vectors_BLC if pull.gap == "csd" else behind_BLC)
    with frozen(net):
        made_MBLC = code_mean(net.velocity(x_MBLC, draws.t_MBL1, f_BLD), x_MBLC, draws.t_MBL1)
    velocity_MBLC = teacher_velocity(x_MBLC, draws.t_MBL1, logp_BLV, teacher.codes_VC)
    true_MBLC = code_mean(velocity_MBLC, x_MBLC, draws.t_MBL1)
    gap_MBLC = true_MBLC - made_MBLC
    weight_MB11 = _weight(behind_BLC, true_MBLC, pull)
    if pull.gap == "kl":
        return -(weight_MB11 * gap_MBLC * vectors_BLC).sum(-1).mean()
    away_MBLC = made_MBLC - vectors_BLC + (1 - pull.alpha) * gap_MBLC
    return (weight_MB11 * gap_MBLC * away_MBLC).sum(-1).mean()


def _weight(vectors_BLC: Tensor, true_MBLC: Tensor, pull: Pull) -> Tensor:
    """weight_MB11, without gradients."""
    if pull.weight == "one":
        return torch.ones_like(true_MBLC[..., :1, :1])
    apart_MB11 = (vectors_BLC - true_MBLC.detach()).abs().mean((-1, -2), keepdim=True)
    return 1 / apart_MB11.clamp_min(FLOOR)


@contextmanager
def frozen(net: VelocityField) -> Iterator[None]:
    """Gradients pass through the network and leave its weights alone."""
    assert isinstance(net, nn.Module)
    learns = [weight for weight in net.parameters() if weight.requires_grad]
    for weight in learns:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in learns:
            weight.requires_grad_(True)
