"""Models of images small enough for tests, and a student that needs no training."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from decant.images.flow import nearest
from decant.images.jumping import Jumped, flowed_unit
from decant.images.layout import Layout
from decant.images.seams import AnyTeacher
from decant.models.images.body import BodySpec
from decant.models.images.folder import Drawing, ImageModel, read_images, write_images
from decant.models.images.jump import JumpNet, JumpSpec, untrained
from decant.models.images.multiscale import MultiScaleQuantizer
from decant.models.images.teacher import untrained as untrained_teacher
from decant.models.images.vq import TokenizerSpec, VectorQuantizer

RASTER, SCALES = Layout.raster(2), Layout.scales((1, 2))


def model(folder: Path, layout: Layout = RASTER, **drawing: float) -> ImageModel:
    """An untrained teacher of two classes over images of 4 x 4 pixels, five codes and two channels, as a folder."""
    kind = "raster" if layout.is_raster else "scales"
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = VectorQuantizer if layout.is_raster else MultiScaleQuantizer
        tokenizer = made(TokenizerSpec(4, layout.sides, layout.grid, codes=5, channels=2, width=4)).eval()
    spec = BodySpec(2, 2, layout.sides, layout.grid, hidden=16, layers=1, heads=2, intermediate=24)
    network = untrained_teacher(spec, 5, seed=1).requires_grad_(False)
    network.head.weight.mul_(40)  # so that laws differ from place to place
    images = ImageModel(str(folder), folder, kind, ("0", "1"), tokenizer, network, Drawing(**drawing), {})
    write_images(images)
    return read_images(str(folder))


def student(layout: Layout, split: int | None = None, codes_VC: Tensor | None = None, **body: int) -> JumpNet:
    """Untrained, of two classes; its continuous head says something."""
    codes_VC = torch.randn(5, 2, generator=torch.Generator().manual_seed(3)) if codes_VC is None else codes_VC
    shape = {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 24, **body}
    spec = BodySpec(codes_VC.shape[1], 2, layout.sides, layout.grid, flagged=True, **shape)
    split = layout.units if split is None else split
    return untrained(JumpSpec("toy", spec, len(codes_VC), (0, 1), split), codes_VC, seed=4)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """A `JumpStudent` that follows the flows of a teacher itself; its vectors are the codes, moved by `off`."""

    teacher: AnyTeacher
    steps: tuple[int, ...] = (0, 1)
    split: int = 99
    off: float = 0.0
    classes: int = field(default=2)

    @property
    def layout(self) -> Layout:
        return self.teacher.layout

    @property
    def codes_VC(self) -> Tensor:
        return self.teacher.codes_VC

    def jump(self, labels_B: Tensor, vectors_BLC: Tensor, flags_BL: Tensor) -> Jumped:
        state, drawn = self.teacher.start(labels_B), []
        for unit in range(self.layout.units):
            part = self.layout.span(unit)
            flows_BK = flowed_unit(self.teacher.law(state), vectors_BLC[:, part], self.codes_VC)
            given_BK = nearest(vectors_BLC[:, part].flatten(0, 1), self.codes_VC).view_as(flows_BK)
            drawn.append(given_BK.where(flags_BL[:, part] == 1, flows_BK))
            if unit < self.layout.units - 1:
                state = self.teacher.follow(state, drawn[-1])
        ids_BL = torch.cat(drawn, dim=1)
        return Jumped(one_hot(ids_BL, len(self.codes_VC)).float(), self.codes_VC[ids_BL] + self.off)
