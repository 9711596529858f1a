"""Folders of students: config.json says what they are, model.safetensors holds them in bfloat16, their codebook in
float32; the tokenizer beside them is `folder`'s affair.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from decant.errors import BadInput
from decant.models.images.body import BodySpec

WEIGHTS: Final = "model.safetensors"


def write(net: nn.Module, config: Mapping[str, Any], folder: Path) -> None:
    """config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().cpu().contiguous().to(torch.float32 if name == "codes_VC" else torch.bfloat16)
        for name, value in net.state_dict().items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def described(folder: Path, architecture: str, recipe: str) -> dict[str, Any]:
    """config.json. Raises BadInput for a folder that holds none, or no student of this recipe."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{folder} holds no config.json that can be read; give the folder of a student, as `decant distill "
            f"{recipe}` writes it"
        ) from error
    if architecture not in (config.get("architectures") or ()):
        raise BadInput(
            f"{folder} holds {config.get('architectures')}, and a student of {recipe} is a {architecture}; give the "
            f"folder that `decant distill {recipe}` writes"
        )
    return config


def body_of(fields: Mapping[str, Any]) -> BodySpec:
    """As config.json spells it. Raises KeyError, TypeError."""
    return BodySpec(**{**fields, "sides": tuple(fields["sides"])})


def fill(net: nn.Module, folder: Path) -> None:
    """With the weights of a folder, in float32; ready and frozen. Raises BadInput for others than promised."""
    try:
        weights: dict[str, Tensor] = load_file(folder / WEIGHTS)
        net.load_state_dict({name: value.float() for name, value in weights.items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"{folder / WEIGHTS} does not hold the weights that config.json promises: {reason}") from error
    net.requires_grad_(False).eval()
