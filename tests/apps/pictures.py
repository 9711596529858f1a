"""A model of images with its judge: untrained, but loud, as laws that are nearly flat would hide a difference."""

from pathlib import Path

import torch

from decant.distill.images.judging import scaled
from decant.distill.images.rule import teacher_of
from decant.images import marginals
from decant.images.layout import Layout
from decant.models.images import judge as judges
from decant.models.images import teacher as teachers
from decant.models.images.body import BodySpec
from decant.models.images.folder import Drawing, ImageModel, read_images, write_images
from decant.models.images.judge import Judge, JudgeSpec
from decant.models.images.vq import TokenizerSpec, VectorQuantizer

CLASSES = ("a", "b", "c")
SIDE = 4  # of an image, and of the grid of its codes


def write_pictures(home: Path) -> Path:
    """The folder of a raster teacher, whose judge lies beside it."""
    layout, folder = Layout.raster(SIDE), home / "teacher"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tokenizer = VectorQuantizer(TokenizerSpec(SIDE, layout.sides, SIDE, codes=16, channels=3, width=4))
    network = teachers.untrained(BodySpec(3, len(CLASSES), layout.sides, SIDE, 16, 1, 2, 24), 16)
    with torch.no_grad():
        network.head.weight *= 40
        network.body.inward.weight *= 20
    drawing = Drawing(guidance=1.5, temperature=0.9, top_k=5)
    frozen = tokenizer.eval().requires_grad_(False)
    write_images(ImageModel("toy", folder, "raster", CLASSES, frozen, network, drawing, {"judge": "../judge"}))
    model = read_images(str(folder))
    marginals.save(marginals.estimated(teacher_of(model), images=40), folder)
    judges.save(judge(), home / "judge")
    return folder


def judge() -> Judge:
    """Of forty images of each class, which are bright in other corners."""
    labels_N = torch.arange(120) % len(CLASSES)
    images_NYX = torch.rand(120, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) / 2
    images_NYX[torch.arange(120), labels_N, labels_N] += 0.5
    net = judges.untrained(JudgeSpec(SIDE, CLASSES, width=4, features=6))
    return scaled(Judge(net.eval().requires_grad_(False), images_NYX, labels_N))
