"""The next-scale teacher as a folder: the body's weights and shape, under names of our own.

Source: Tian et al. 2024, arXiv:2404.02905 (VAR).
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from decant.errors import BadInput
from decant.images.seams import ImageTokenizer
from decant.models.images.body import BodySpec
from decant.models.images.teacher import CodeModel, untrained

ARCHITECTURE: Final = "NextScaleForImages"
WEIGHTS: Final = "model.safetensors"


def write(network: CodeModel, codes: int, folder: Path) -> None:
    """Weights in bfloat16 and their configuration; the network itself keeps its types."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)
    fields = {
        "architectures": [ARCHITECTURE],
        "model_type": "next_scale",
        "dtype": "float32",
        "codes": codes,
        **asdict(network.body.spec),
    }
    (folder / "config.json").write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")


def read(folder: Path, tokenizer: ImageTokenizer, classes: int) -> CodeModel:
    """The network of a folder, in float32, frozen. Raises BadInput for weights that its config.json does not promise,
    or another tokenizer's."""
    said = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    try:
        fields: dict[str, Any] = {name: said[name] for name in BodySpec.__dataclass_fields__}
        fields["sides"] = tuple(fields["sides"])
        spec = BodySpec(**fields)
        network = untrained(spec, said["codes"])
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise BadInput(f"{folder} does not hold the next-scale model that its config.json promises: {error}") from error
    here = (spec.layout, spec.channels, said["codes"], spec.classes)
    want = (tokenizer.layout, tokenizer.codes_VC.shape[1], len(tokenizer.codes_VC), classes)
    if here != want:
        raise BadInput(f"{folder} was made for another tokenizer of images: {here} are not {want}")
    return network.eval().requires_grad_(False)
