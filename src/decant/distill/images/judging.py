"""Train a judge of images: cross-entropy on real ones, moved by up to a pixel.

Source: LeCun et al. 1998, doi:10.1109/5.726791.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from decant.distill.settings import Settings
from decant.distill.trainer import Share, run
from decant.models.images.judge import Judge, JudgeNet, JudgeSpec, untrained

Images = tuple[Tensor, Tensor]
"""images_NYX in 0 ... 1 and labels_N."""


@final
@dataclass(frozen=True, slots=True)
class Exam:
    """How a judge is trained. batch: images of a step; shift: pixels that an image is moved by, at most. kept: the
    first images, which are the reference."""

    settings: Settings = field(default_factory=lambda: Settings(steps=1200, peak=3e-3, warmup=50, decay=0.5))
    batch: int = 128
    shift: int = 1
    kept: int = 2000
    seed: int = 0


def teach(real: Images, classes: tuple[str, ...], folder: Path, exam: Exam = Exam()) -> Judge:
    """A judge of these images, the first of which are its reference. Its checkpoint lies in `folder`, from which a run
    goes on."""
    images_NYX, labels_N = real
    net = untrained(JudgeSpec(images_NYX.shape[1], classes), exam.seed)
    run(net, _Lesson(net, images_NYX, labels_N, exam), exam.settings, folder)
    return scaled(Judge(net.eval().requires_grad_(False), images_NYX[: exam.kept], labels_N[: exam.kept]))


def scaled(judge: Judge) -> Judge:
    """With features whose total variance over the reference is 100."""
    net = judge.net
    bare = _with(net, 1.0)
    features_ND, _ = bare.look(judge.images_NYX)
    variance = float(features_ND.double().var(0).sum())  # sync: once a training
    return replace(judge, net=_with(net, (100 / variance) ** 0.5))


def accuracy(net: JudgeNet, real: Images) -> float:
    """The share of images that are taken for what they are."""
    _, classes_N = net.look(real[0])
    return float((classes_N == real[1]).double().mean())  # sync: a report


def _with(net: JudgeNet, scale: float) -> JudgeNet:
    made = untrained(replace(net.spec, scale=scale))
    made.load_state_dict(net.state_dict())
    return made.eval().requires_grad_(False)


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Lesson:
    """What the trainer asks for; a step's images are a function of its number."""

    net: nn.Module
    images_NYX: Tensor
    labels_N: Tensor
    exam: Exam

    def start(self) -> None:
        """Nothing is remembered."""

    def batches(self, state: None, step: int, share: Share) -> tuple[list[Images], None]:
        """One piece: images moved each by its own way."""
        rng = torch.Generator().manual_seed(self.exam.seed * 1_000_003 + step)
        rows_B = torch.randint(len(self.labels_N), (self.exam.batch,), generator=rng)
        ways_B2 = torch.randint(2 * self.exam.shift + 1, (self.exam.batch, 2), generator=rng)
        mine = share.mine(self.exam.batch)
        moved_BYX = shifted(self.images_NYX[rows_B[mine]], ways_B2[mine], self.exam.shift)
        return [(moved_BYX, self.labels_N[rows_B[mine]])], None

    def weight(self, piece: Images) -> Tensor:
        """How many images."""
        return torch.tensor(float(len(piece[1])))

    def nats(self, state: None, step: int, piece: Images) -> Tensor:
        """Cross-entropy, summed."""
        return cross_entropy(self.net(piece[0]), piece[1], reduction="sum")

    def observe(self, state: Any, step: int, nats: float) -> None:
        """Nothing is learnt."""


def shifted(images_BYX: Tensor, ways_B2: Tensor, most: int) -> Tensor:
    """Each image moved by `most - way` rows and columns; what comes in from outside is 0."""
    rows, columns = images_BYX.shape[1:]
    wide_BYX = pad(images_BYX, (most,) * 4)
    at_BY1 = (ways_B2[:, :1] + torch.arange(rows))[:, :, None]
    at_B1X = (ways_B2[:, 1:] + torch.arange(columns))[:, None]
    return wide_BYX[torch.arange(len(images_BYX))[:, None, None], at_BY1, at_B1X]
