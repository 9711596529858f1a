"""What a network can do that settles all places at once without knowing of each other's chance: each place by its law
behind the class alone.

No network of that kind can do better, so the table stands for the best of them.
Source: the failing baseline of Liu et al. 2024, arXiv:2412.17153.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from decant.errors import BadInput
from decant.images.seams import AnyTeacher
from decant.noise import Noise, sample_seed

FILE: Final = "marginals.safetensors"
IMAGES: Final = 400  # a class; the mean of laws along them wavers far less than counts would


@final
@dataclass(frozen=True, slots=True, eq=False)
class Marginals:
    """probs_YLV: of every class (Y), place and code; rows sum to 1. codes_VC: the codebook."""

    probs_YLV: Tensor
    codes_VC: Tensor

    def of(self, labels_B: Tensor) -> Tensor:
        """probs_BLV."""
        return self.probs_YLV.to(labels_B.device)[labels_B]


def drawn(teacher: AnyTeacher, labels_B: Tensor, noise: Noise, units: int | None = None) -> Tensor:
    """ids_BL of the first `units` units (None: of all), sampled by the teacher; a place draws with its own
    numbers, those that plain decoding uses there. Without gradients."""
    layout, found = teacher.layout, []
    state = teacher.start(labels_B)
    for unit in range(layout.units if units is None else units):
        span = layout.span(unit)
        place_BK = torch.arange(span.start, span.stop, device=labels_B.device).expand(len(labels_B), -1)
        found.append(noise.draw(teacher.law(state).exp(), place_BK))
        state = teacher.follow(state, found[-1])
    return torch.cat(found, dim=1) if found else labels_B.new_empty(len(labels_B), 0)


@torch.inference_mode()
def estimated(teacher: AnyTeacher, images: int = IMAGES, seed: int = 0) -> Tensor:
    """probs_YLV, the mean of the teacher's laws along so many of its own images of each class."""
    codes_VC = teacher.codes_VC
    found = []
    for label in range(teacher.classes):
        labels_B = torch.full((images,), label, device=codes_VC.device)
        seeds = [sample_seed(seed, label * images + at) for at in range(images)]
        ids_BL = drawn(teacher, labels_B, Noise.of(seeds, codes_VC.device))
        found.append(teacher.laws(labels_B, codes_VC[ids_BL]).exp().double().mean(0))
    return torch.stack(found).float()


def save(probs_YLV: Tensor, folder: Path) -> None:
    """Beside a teacher's weights, in bfloat16."""
    tensors = {"probs": probs_YLV.to("cpu", torch.bfloat16).contiguous()}
    save_file(tensors, folder / FILE, metadata={"format": "pt"})
    (folder / FILE).chmod(0o644)


def read(folder: Path, codes_VC: Tensor) -> Marginals:
    """Raises BadInput where the folder holds none."""
    try:
        probs_YLV = load_file(folder / FILE)["probs"].float()
    except (OSError, KeyError, SafetensorError) as error:
        raise BadInput(
            f"{folder / FILE} cannot be read ({' '.join(str(error).split())}); `python -m decant.house.digits` writes "
            f"it beside a teacher"
        ) from error
    return Marginals(probs_YLV / probs_YLV.sum(-1, keepdim=True), codes_VC)
