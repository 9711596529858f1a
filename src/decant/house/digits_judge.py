"""Train the judge of the image models of one set of images, and say in its folder what it was measured to do."""

from pathlib import Path
from typing import Final

from decant.distill.images.judging import Exam, accuracy, teach
from decant.house.digits_card import command, title
from decant.house.pictures import CLASSES, Pictures
from decant.models.images.judge import Judge, save

CARD: Final = """\
---
license: apache-2.0
---
# {name}

A small network that says which digit an image of {side}x{side} shows. `decant bench {teacher} --suite images`
takes the {features} numbers in front of its last layer as the features of an image: Frechet distances, precision and
recall are measured there. They are distances of this network alone, and no FID.

| | |
|---|---|
| network | {layers} convolutions of 3x3 and two matrices, {parameters:,} parameters in bfloat16 |
| trained on | {trained:,} images, {steps:,} steps of {batch}, moved by up to {shift} pixel |
| reference | {kept:,} of them, in reference.safetensors: what images are compared with |
| scale | features are multiplied by one number, so that their total variance over the reference is 100 |
| accuracy on {held:,} images that nobody trained on | {accuracy:.4f} |
| made by | `{command}` |

Data: {source}, which is also the licence of the images in
reference.safetensors. The weights are licensed under Apache-2.0.
"""
SOURCES: Final = {
    "digits": "scikit-learn's copy of Alpaydin and Kaynak 1998, doi:10.24432/C50P49 (CC BY 4.0)",
    "mnist": "MNIST, LeCun, Cortes and Burges 1998 (CC BY-SA 3.0)",
}


def make(family: str, pictures: Pictures, out: Path, shop: Path, exam: Exam = Exam()) -> float:  # noqa: B008  (frozen)
    """The folder `family`-judge under `out`, from the checkpoint in `shop`; its accuracy on held-out images."""
    judge = teach((pictures.images_NYX, pictures.labels_N), CLASSES, shop, exam)
    folder = out / f"{family}-judge"
    save(judge, folder)
    found = accuracy(judge.net, (pictures.held_MYX, pictures.held_labels_M))
    (folder / "README.md").write_text(_card(family, judge, pictures, exam, found), encoding="utf-8")
    return found


def _card(family: str, judge: Judge, pictures: Pictures, exam: Exam, found: float) -> str:
    spec = judge.net.spec
    return CARD.format(
        name=title(f"{family}-judge"),
        teacher=title(f"{family}-ar"),
        command=command(f"{family}-judge"),
        side=spec.side,
        features=spec.features,
        layers=len(judge.net.maps),
        parameters=sum(weight.numel() for weight in judge.net.parameters()),
        trained=len(pictures.labels_N),
        steps=exam.settings.steps,
        batch=exam.batch,
        shift=exam.shift,
        kept=len(judge.labels_N),
        held=len(pictures.held_labels_M),
        accuracy=found,
        source=SOURCES[family],
    )
