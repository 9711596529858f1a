"""Folders of image models: a teacher, its tokenizer of images, and in decant.json what kind they are and how they draw.

Never pickle. A tokenizer is small and stays in float32, as a rounded codebook would move the nearest codes.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from decant.errors import BadInput, IncompatibleParts
from decant.images.seams import ImageTokenizer, Law
from decant.models.folder import find
from decant.models.images import raster, scales
from decant.models.images.multiscale import MultiScaleQuantizer
from decant.models.images.teacher import CodeModel, CodeTeacher
from decant.models.images.vq import TokenizerSpec, VectorQuantizer

TOKENIZER: Final = "image_tokenizer"
TOKENIZERS: Final = {"VectorQuantizer": VectorQuantizer, "MultiScaleQuantizer": MultiScaleQuantizer}

Kind = Literal["raster", "scales"]


@final
@dataclass(frozen=True, slots=True)
class Drawing:
    """How a teacher draws if nothing else is asked for: guidance 1, temperature 1, top_k 0 and top_p 1 do nothing."""

    guidance: float = 1.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


@final
@dataclass(frozen=True, slots=True, eq=False)
class ImageModel:
    """name: as the user typed it. classes: their names. heads: kind of student -> where decant.json says it lies."""

    name: str
    folder: Path
    kind: Kind
    classes: tuple[str, ...]
    tokenizer: ImageTokenizer
    network: CodeModel
    drawing: Drawing
    heads: Mapping[str, str]

    def teacher(self, rule: Law, guided: bool = True) -> CodeTeacher:
        """Under a law; guided: whether it reads what is said without a class."""
        return CodeTeacher(self.network, self.tokenizer, rule, guided)

    def label(self, name: str) -> int:
        """Of a class. Raises BadInput for a name that it does not have."""
        if name not in self.classes:
            raise BadInput(f"{self.name} knows no class {name!r}; it knows {', '.join(self.classes)}")
        return self.classes.index(name)


def is_images(name: str) -> bool:
    """Whether a folder holds an image model; False for what is no folder. Nothing but decant.json is read."""
    return _settings(Path(find(name))) is not None


def read_images(name: str) -> ImageModel:
    """An image model by its name or folder, in float32. Raises BadInput, IncompatibleParts for a model of texts."""
    folder = Path(find(name))
    said = _settings(folder)
    if said is None:
        raise IncompatibleParts(
            f"{name} is no image model: its decant.json says nothing of images; take house:digits-ar or "
            f"house:digits-var, or a folder that python -m decant.house.digits wrote"
        )
    images = said["images"]
    kind, classes = images["kind"], tuple(images["classes"])
    tokenizer = read_tokenizer(folder)
    network = (raster if kind == "raster" else scales).read(folder, tokenizer, len(classes))
    drawing = Drawing(**{key: images[key] for key in Drawing.__dataclass_fields__ if key in images})
    return ImageModel(name, folder, kind, classes, tokenizer, network, drawing, said.get("heads") or {})


def write_images(model: ImageModel) -> None:
    """All of a folder but its README.md."""
    codes, classes = len(model.tokenizer.codes_VC), len(model.classes)
    drawn = asdict(model.drawing)
    if model.kind == "raster":
        raster.write(model.network, model.tokenizer, model.classes, model.folder)
        raster.write_generation(
            model.folder, codes, classes, {name: drawn[name] for name in ("temperature", "top_k", "top_p")}
        )
    else:
        scales.write(model.network, codes, model.folder)
    write_tokenizer(model.tokenizer, model.folder)
    fields = {"images": {"kind": model.kind, "classes": list(model.classes), **drawn}, "heads": dict(model.heads)}
    (model.folder / "decant.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def write_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Into image_tokenizer/ of a folder, of a teacher or of a student."""
    home = folder / TOKENIZER
    home.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().contiguous() for name, weight in tokenizer.state_dict().items()}
    save_file(weights, home / raster.WEIGHTS, metadata={"format": "pt"})
    (home / raster.WEIGHTS).chmod(0o644)
    fields = {"architectures": [type(tokenizer).__name__], **asdict(tokenizer.spec)}
    (home / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def read_tokenizer(folder: Path) -> ImageTokenizer:
    """Out of image_tokenizer/ of a folder; frozen. Raises BadInput."""
    home = folder / TOKENIZER
    try:
        fields = json.loads((home / "config.json").read_text(encoding="utf-8"))
        made = TOKENIZERS[fields.pop("architectures")[0]]
        with torch.random.fork_rng():
            tokenizer: nn.Module = made(TokenizerSpec(**fields | {"sides": tuple(fields["sides"])}))
        tokenizer.load_state_dict(load_file(home / raster.WEIGHTS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadInput(
            f"{home} holds no tokenizer of images that can be read ({error}); python -m decant.house.digits writes one"
        ) from error
    return tokenizer.eval().requires_grad_(False)  # pyright: ignore[reportReturnType]


def _settings(folder: Path) -> dict[str, Any] | None:
    """decant.json of a folder of images; None for any other."""
    file = folder / "decant.json"
    if not file.is_file():
        return None
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file} cannot be read: {error}") from error
    return said if "images" in said else None
