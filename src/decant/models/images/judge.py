"""The network that judges images: what it takes them for, and the features in which sets of images are compared.

A few convolutions, trained on the very images that a teacher learnt from. Its folder holds them as the reference:
config.json, model.safetensors in bfloat16, reference.safetensors with values in bytes.
Source: LeCun et al. 1998, doi:10.1109/5.726791 (LeNet-5).
"""

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from decant.errors import BadInput

ARCHITECTURE: Final = "JudgeOfImages"
WEIGHTS: Final = "model.safetensors"
REFERENCE: Final = "reference.safetensors"
TOGETHER: Final = 512  # images of one pass
LAST: Final = 2  # side of the map that the features are made of


@final
@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """side: of images, 2 or 4 or 8 ... pixels. classes: their names. width: channels of the first map, half of the
    others'. features: how many a comparison sees. scale: what they are multiplied by, so that the features of the
    reference have a total variance of 100.

    Raises BadInput for a side that is no power of two.
    """

    side: int
    classes: tuple[str, ...]
    width: int = 24
    features: int = 64
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.side < LAST or self.side & (self.side - 1):
            raise BadInput(f"a judge reads squares of 2, 4, 8 ... pixels a side, not {self.side}; pad the images")


@final
class JudgeNet(nn.Module):
    """The weights: convolutions of 3x3, a map of half the side behind each but the first, features, classes."""

    def __init__(self, spec: JudgeSpec) -> None:
        super().__init__()
        self.spec = spec
        halvings = (spec.side // LAST).bit_length() - 1
        widths = [1, spec.width, *[2 * spec.width] * halvings]
        self.maps = nn.ModuleList(nn.Conv2d(one, two, 3, padding=1) for one, two in pairwise(widths))
        self.seen = nn.Linear(widths[-1] * LAST**2, spec.features)
        self.named = nn.Linear(spec.features, len(spec.classes))

    def features(self, images_BYX: Tensor) -> Tensor:
        """features_BD, before their scale."""
        maps = images_BYX[:, None]
        for at, part in enumerate(self.maps):
            maps = relu(part(maps))
            if at > 0:
                maps = max_pool2d(maps, 2)
        return relu(self.seen(maps.flatten(1)))

    def forward(self, images_BYX: Tensor) -> Tensor:
        """logits_BV of the classes."""
        return self.named(self.features(images_BYX))

    @torch.inference_mode()
    def look(self, images_NYX: Tensor) -> tuple[Tensor, Tensor]:
        """features_ND, scaled, and classes_N of images with values in 0 ... 1. Raises BadInput for another side."""
        side = self.spec.side
        if images_NYX.shape[1:] != (side, side):
            raise BadInput(
                f"this judge reads images of {side}x{side}, not {'x'.join(map(str, images_NYX.shape[1:]))}; train one "
                f"on images of that size"
            )
        found = [self.features(images_BYX) for images_BYX in images_NYX.split(TOGETHER)]
        features_ND = torch.cat(found) if found else images_NYX.new_empty(0, self.spec.features)
        return features_ND * self.spec.scale, self.named(features_ND).argmax(-1)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """A judge and what it compares with. images_NYX, labels_N: the real images that it was trained on."""

    net: JudgeNet
    images_NYX: Tensor
    labels_N: Tensor


def untrained(spec: JudgeSpec, seed: int = 0) -> JudgeNet:
    """Fresh weights, the same for the same seed; the global generator does not move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return JudgeNet(spec)


def save(judge: Judge, folder: Path) -> None:
    """Write the folder; weights in bfloat16, images in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to("cpu", torch.bfloat16) for name, weight in judge.net.state_dict().items()}
    images = {"images": (255 * judge.images_NYX).round().to("cpu", torch.uint8), "labels": judge.labels_N.byte().cpu()}
    for name, tensors in ((WEIGHTS, weights), (REFERENCE, images)):
        save_file({key: each.contiguous() for key, each in tensors.items()}, folder / name, metadata={"format": "pt"})
        (folder / name).chmod(0o644)
    text = json.dumps({"architectures": [ARCHITECTURE], "judge": asdict(judge.net.spec)}, indent=2)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Judge:
    """The judge of a folder, in float32. Raises BadInput for a folder that holds none."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8"))["judge"]
        net = untrained(JudgeSpec(**{**said, "classes": tuple(said["classes"])}))
        net.load_state_dict(load_file(folder / WEIGHTS))
        real = load_file(folder / REFERENCE)
        images_NYX, labels_N = real["images"].float() / 255, real["labels"].long()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{folder} holds no judge of images that can be read ({reason}); train one") from error
    return Judge(net.float().eval().requires_grad_(False), images_NYX, labels_N)
