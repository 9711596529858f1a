"""Make image models out of handwritten digits: tokenizers, and teachers in raster and in next-scale order.

    python -m decant.house.digits [--mnist FILE] [--out FOLDER] [--only ar|var|judge] [--threads N]

Without --mnist it reads scikit-learn's 1,797 images of 8x8, which come with that package, and writes digits-ar,
digits-var and their judge; with it, the 70,000 of MNIST, padded to 32x32, and writes mnist-ar, mnist-var and theirs.
Checkpoints live under $DECANT_HOME/images (default ~/.cache/decant/images), from where an interrupted run goes on.
"""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

import torch
from torch import Tensor

from decant.distill.images.rule import teacher_of
from decant.distill.images.teaching import Examples, nats
from decant.distill.images.teaching import teach as teach_network
from decant.distill.images.tokenizing import encoded, fidelity
from decant.distill.images.tokenizing import teach as teach_tokenizer
from decant.distill.settings import Settings
from decant.house import HOME, digits_judge
from decant.house.digits_card import Measured, write_card
from decant.house.pictures import CLASSES, Pictures, digits, mnist, shifted
from decant.images import marginals
from decant.models.images.body import BodySpec
from decant.models.images.folder import (
    Drawing,
    ImageModel,
    Kind,
    read_images,
    read_tokenizer,
    write_images,
    write_tokenizer,
)
from decant.models.images.multiscale import MultiScaleQuantizer
from decant.models.images.teacher import untrained
from decant.models.images.vq import TokenizerSpec, VectorQuantizer

STUDENTS: Final = ("dd1", "dd2")
SOME: Final = 2048  # training images that are looked at again
KINDS: Final = ("ar", "var")
JUDGE: Final = "judge"


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """One model. tokenizer, body: their shapes. looks, reads: how they are trained, `rows` images a step. free: steps
    before there are codes. shifts: images are moved by so many pixels down and right, such a share of what is read.
    """

    kind: Kind
    tokenizer: TokenizerSpec
    body: BodySpec
    looks: Settings
    reads: Settings
    rows: int
    free: int
    drawing: Drawing
    shifts: tuple[tuple[int, int, float], ...]


def _looks(steps: int, peak: float) -> Settings:
    return Settings(steps, peak, warmup=50, decay=0.5, weight_decay=0.0, clip=100.0, save_every=200, report_every=100)


def _reads(steps: int) -> Settings:
    return Settings(steps, 2e-3, warmup=50, decay=0.6, weight_decay=0.1, save_every=100, report_every=50)


def _body(spec: TokenizerSpec, hidden: int, layers: int, dropout: float) -> BodySpec:
    width = hidden * 8 // 3 // 8 * 8
    sides, heads = spec.sides, hidden // 32
    return BodySpec(spec.channels, len(CLASSES), sides, spec.grid, hidden, layers, heads, width, dropout)


SMALL: Final = ((0, 0, 0.5), (0, 1, 0.2), (0, -1, 0.2), (1, 0, 0.05), (-1, 0, 0.05))
STILL: Final = ((0, 0, 1.0),)
DRAWING: Final[dict[Kind, Drawing]] = {
    "raster": Drawing(guidance=1.5, temperature=0.9, top_k=16),
    "scales": Drawing(guidance=2.0, temperature=0.9, top_k=16),
}


def _digits(kind: Kind, sides: tuple[int, ...]) -> Plan:
    spec, looks = TokenizerSpec(8, sides, 4), 1000 if kind == "raster" else 1500
    return Plan(kind, spec, _body(spec, 96, 3, 0.1), _looks(looks, 3e-3), _reads(900), 128, 0, DRAWING[kind], SMALL)


def _mnist(kind: Kind, sides: tuple[int, ...]) -> Plan:
    spec = TokenizerSpec(32, sides, 8, width=16)
    return Plan(kind, spec, _body(spec, 128, 3, 0.0), _looks(1000, 1e-3), _reads(1500), 64, 100, DRAWING[kind], STILL)


PLANS: Final = {
    "digits-ar": _digits("raster", (1,) * 16),
    "digits-var": _digits("scales", (1, 2, 4)),
    "mnist-ar": _mnist("raster", (1,) * 64),
    "mnist-var": _mnist("scales", (1, 2, 3, 4, 6, 8)),
}


def make(name: str, plan: Plan, pictures: Pictures, out: Path, shop: Path) -> Measured:
    """A folder under `out`, from the checkpoints in `shop`, measured as it was written."""
    tokenizer = tokenize(plan, pictures, shop / "tokenizer")
    network = untrained(plan.body, plan.tokenizer.codes, seed=1)
    teach_network(network, tokenizer, spelled(plan, tokenizer, pictures), plan.reads, shop / "teacher")
    folder = out / name
    heads = named(name, out)
    write_images(ImageModel(name, folder, plan.kind, CLASSES, tokenizer, network, plan.drawing, heads))
    written = read_images(str(folder))
    marginals.save(marginals.estimated(teacher_of(written)), folder)
    measured = measure(written, pictures)
    write_card(name, written, measured, plan.looks.steps, plan.reads.steps)
    return measured


def named(name: str, out: Path) -> dict[str, str]:
    """What decant.json calls heads: students, and the judge of all models of these images."""
    folders = {"judge": f"{name.partition('-')[0]}-judge"} | {head: f"{name}-{head}" for head in STUDENTS}
    place = "house:" if out == HOME else "../"
    return {head: place + folder for head, folder in folders.items()}


def tokenize(plan: Plan, pictures: Pictures, shop: Path) -> Any:
    """The tokenizer, trained, or read back as an earlier run left it."""
    if (shop / "image_tokenizer" / "config.json").is_file():
        return read_tokenizer(shop)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = VectorQuantizer if plan.kind == "raster" else MultiScaleQuantizer
        tokenizer = made(plan.tokenizer)
    teach_tokenizer(tokenizer, batches(plan, pictures), plan.looks, shop, plan.free)
    write_tokenizer(tokenizer, shop)
    return tokenizer


def batches(plan: Plan, pictures: Pictures) -> Callable[[int], Tensor]:
    """Step -> images_BYX, each shifted or not."""
    versions_SNYX = versions(plan, pictures)
    share_S = torch.tensor([share for *_, share in plan.shifts])

    def batch(step: int) -> Tensor:
        rng = torch.Generator().manual_seed(step)
        which_B = torch.randint(versions_SNYX.shape[1], (plan.rows,), generator=rng)
        return versions_SNYX[torch.multinomial(share_S, plan.rows, replacement=True, generator=rng), which_B]

    return batch


def versions(plan: Plan, pictures: Pictures) -> Tensor:
    """images_SNYX: the training images under each shift."""
    return torch.stack([shifted(pictures.images_NYX, down, right) for down, right, _ in plan.shifts])


def spelled(plan: Plan, tokenizer: Any, pictures: Pictures) -> Examples:
    """What a teacher reads."""
    ids = [encoded(tokenizer, images_NYX) for images_NYX in versions(plan, pictures)]
    return Examples(pictures.labels_N, torch.stack(ids), torch.tensor([share for *_, share in plan.shifts]), plan.rows)


def measure(model: ImageModel, pictures: Pictures) -> Measured:
    """What a written model knows of images that nobody trained on."""

    def found(images_NYX: Tensor, labels_N: Tensor) -> float:
        return nats(model.network, model.tokenizer, labels_N, encoded(model.tokenizer, images_NYX))

    held, labels = pictures.held_MYX, pictures.held_labels_M
    without = found(held, torch.full_like(labels, len(CLASSES)))
    trained = found(pictures.images_NYX[:SOME], pictures.labels_N[:SOME])
    return Measured(fidelity(model.tokenizer, held), found(held, labels), trained, without, len(held))


def main() -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m decant.house.digits", description="Make image models of digits.")
    parser.add_argument("--mnist", type=Path, help="mnist.npz: train_x, train_y, test_x, test_y")
    parser.add_argument("--out", type=Path, default=HOME, help="where folders are written")
    parser.add_argument("--only", choices=(*KINDS, JUDGE), help="one of the two, or their judge")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    home = Path(os.environ.get("DECANT_HOME", Path.home() / ".cache" / "decant")) / "images" / "work"
    family = "digits" if asked.mnist is None else "mnist"
    pictures = digits() if asked.mnist is None else mnist(asked.mnist)
    try:
        for kind in [asked.only] if asked.only else (*KINDS, JUDGE):
            name = f"{family}-{kind}"
            if kind == JUDGE:
                right = digits_judge.make(family, pictures, asked.out, home / name)
                sys.stdout.write(
                    f"{asked.out / name}  {100 * right:.2f} % of held-out images are taken for what they are\n"
                )
                continue
            measured = make(name, PLANS[name], pictures, asked.out, home / name)
            sys.stdout.write(
                f"{asked.out / name}  error {measured.fidelity.error:.5f}  {measured.nats:.3f} nats a code\n"
            )
    except KeyboardInterrupt:
        sys.stderr.write(f"interrupted; the same command goes on from {home}\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
