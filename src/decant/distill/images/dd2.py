"""A network learns to say an image in one pass, place by place as likely as the teacher would, with no image to copy.

First a network learns the teacher's velocities on the teacher's own images (the head alone, then all of it). Generator
and guidance network both begin as that network, and are then taught in turns (`alternating.py`, losses in `score.py`).
For an alignment the generator begins again from its running mean and rests, until the guidance network knows it well;
then both go on. What is exported is the running mean.
Source: Liu et al. 2025, arXiv:2510.21003 (Distilled Decoding 2).
"""

from dataclasses import dataclass
from typing import Final, Protocol, final

import torch
from torch import Generator, Tensor

from decant.distill.images.alternating import Pair, Phase, Schedule
from decant.distill.images.score import Draws, Pull, VelocityField, conditional_score, fake_score, ground_truth
from decant.errors import BadInput
from decant.images.marginals import drawn
from decant.images.seams import AnyTeacher
from decant.noise import Noise, sample_seed

HEAD, TUNING, ALTERNATING, ALIGNMENT = "head", "tuning", "alternating", "alignment"
AT_ONCE: Final = 1024  # images that a teacher draws in one go


class Drawing(VelocityField, Protocol):
    """A network that says velocities, and draws with them."""

    def draw(self, labels_B: Tensor, eps_BLC: Tensor) -> Tensor:
        """vectors_BLC, in one pass."""
        ...


@final
@dataclass(frozen=True, slots=True)
class DD2:
    """images: of the teacher's own. head, tuning: steps on them, of the head and of all.
    guidance: steps of the guidance network for one of the generator. alignment: steps of it alone; aligned: the share
    of the generator's steps that come behind, with 2 of the guidance network each. draws: noises of a vector. width,
    depth: of the heads. begin, faster: rates of tuning and of the guidance network, as multiples of the generator's.
    gap, alpha, weight: how the generator is pulled (`score.Pull`). ema: rate of the running mean. beta1: of the
    optimisers while the generator learns. Raises BadInput for counts and shares out of range.
    """

    images: int = 8192
    head: int = 50
    tuning: int = 300
    guidance: int = 3
    alignment: int = 100
    aligned: float = 0.4
    draws: int = 2
    width: int = 64
    depth: int = 2
    faster: float = 2.0
    gap: str = "csd"
    alpha: float = 1.0
    weight: str = "own"
    ema: float = 0.999
    beta1: float = 0.0

    def __post_init__(self) -> None:
        least = min(self.images, self.guidance, self.draws)
        if least < 1 or min(self.head, self.tuning, self.alignment) < 0 or not 0 <= self.aligned < 1:
            raise BadInput(
                f"dd2 needs images, guidance and draws of 1 or more, head, tuning and alignment of 0 or more and "
                f"0 <= aligned < 1, got {self}"
            )
        self.pull  # noqa: B018  (its own refusals)

    @property
    def pull(self) -> Pull:
        """Of the generator."""
        return Pull(self.gap, self.alpha, self.weight)

    def schedule(self, steps: int, rate: float) -> Schedule:
        """steps: of the generator. rate: its peak."""
        behind = round(steps * self.aligned) if self.alignment else 0
        phases = [
            Phase(HEAD, self.head, 1, generator=False),
            Phase(TUNING, self.tuning, 1, generator=False),
            Phase(ALTERNATING, steps - behind, self.guidance, generator=True, begins="anew"),
        ]
        if behind:
            phases += [
                Phase(ALIGNMENT, self.alignment, 1, generator=False, begins="mean"),
                Phase(ALTERNATING, behind, min(2, self.guidance), generator=True),
            ]
        return Schedule(
            tuple(phase for phase in phases if phase.turns),
            rate,
            rate * self.faster,
            warmup=min(100, steps // 10),
            beta1=self.beta1,
            ema=self.ema,
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Scoring:
    """An `alternating.Lesson`. labels_N, ids_NL: images that the teacher drew. batch: images of a step."""

    pair: Pair
    teacher: AnyTeacher
    recipe: DD2
    labels_N: Tensor
    ids_NL: Tensor
    batch: int

    def guidance(self, phase: Phase, drawing: Generator) -> Tensor:
        """The teacher's velocities on its own images first, then those of what the generator makes."""
        net: Drawing = self.pair.guidance  # pyright: ignore[reportAssignmentType]
        if phase.name in (HEAD, TUNING):
            rows_B = torch.randint(len(self.ids_NL), (self.batch,), generator=drawing).to(self.ids_NL.device)
            labels_B, ids_BL = self.labels_N[rows_B], self.ids_NL[rows_B]
            draws = Draws.of(self.teacher.codes_VC[ids_BL], self.recipe.draws, drawing)
            return ground_truth(_HeadAlone(net) if phase.name == HEAD else net, self.teacher, labels_B, ids_BL, draws)
        with torch.no_grad():
            labels_B, vectors_BLC = self._made(drawing)
        return fake_score(net, labels_B, vectors_BLC, Draws.of(vectors_BLC, self.recipe.draws, drawing))

    def generator(self, drawing: Generator) -> Tensor:
        """The pull from the guidance network's means to the teacher's."""
        net: Drawing = self.pair.guidance  # pyright: ignore[reportAssignmentType]
        labels_B, vectors_BLC = self._made(drawing)
        draws = Draws.of(vectors_BLC.detach(), self.recipe.draws, drawing)
        return conditional_score(net, self.teacher, labels_B, vectors_BLC, draws, self.recipe.pull)

    def _made(self, drawing: Generator) -> tuple[Tensor, Tensor]:
        """Labels, and what the generator makes of them: with gradients where they are on."""
        net: Drawing = self.pair.generator  # pyright: ignore[reportAssignmentType]
        places, dims = self.teacher.layout.places, self.teacher.codes_VC.shape[1]
        device = self.teacher.codes_VC.device
        labels_B = torch.randint(self.teacher.classes, (self.batch,), generator=drawing).to(device)
        return labels_B, net.draw(labels_B, torch.randn(self.batch, places, dims, generator=drawing).to(device))


@final
@dataclass(frozen=True, slots=True)
class _HeadAlone:
    """A `VelocityField` whose body no gradient reaches."""

    net: VelocityField

    def features(self, labels_B: Tensor, vectors_BLC: Tensor) -> Tensor:
        with torch.no_grad():
            return self.net.features(labels_B, vectors_BLC)

    def velocity(self, x_XLC: Tensor, t_XL1: Tensor, f_BLD: Tensor) -> Tensor:
        return self.net.velocity(x_XLC, t_XL1, f_BLD)


def own_images(teacher: AnyTeacher, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """labels_N by turns and ids_NL: images that the teacher draws under its law."""
    device = teacher.codes_VC.device
    labels_N = torch.arange(count, device=device) % teacher.classes
    parts = []
    with torch.no_grad():
        for first in range(0, count, AT_ONCE):
            labels_B = labels_N[first : first + AT_ONCE]
            seeds = [sample_seed(seed, first + row) for row in range(len(labels_B))]
            parts.append(drawn(teacher, labels_B, Noise.of(seeds, device)))
    return labels_N, torch.cat(parts)
