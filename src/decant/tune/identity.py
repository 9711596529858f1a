"""Which model and which machine: fingerprints that a plan holds for, cheap beside what they guard."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from decant.models.folder import find
from decant.models.loaded import Loaded
from decant.models.machine import machine
from decant.tune.plan import SAME

SAMPLED: Final = 4096  # bytes of a tensor
PIECES: Final = 256  # of a file
PIECE: Final = 1024  # bytes; a file begins with the names and shapes of its tensors
KEPT: Final = ("dtype", "weights", "widen", "forward")
"""Of a model's facts, those that change its speed or its text."""


def model_identity(target: Loaded) -> dict[str, Any]:
    """Facts of a model with a fingerprint of its config, its sizes, how it was loaded, and bytes of its weights."""
    facts = target.facts()
    config = target.model.network.config.to_dict()
    parts = {
        "config": {key: value for key, value in config.items() if key not in {"_name_or_path", "transformers_version"}},
        "parameters": facts["parameters"],
        "loaded": {name: facts[name] for name in KEPT},
        "weights": weights_hash(target.model.network),
        "files": files_hash(target.name),
        "commit": getattr(target.model.network.config, "_commit_hash", None),
    }
    return {**facts, "fingerprint": _hash(parts)}


def machine_identity(target: Loaded) -> dict[str, Any]:
    """Facts of this machine with a fingerprint of what times depend on, the model's device among them."""
    device = target.model.network.device
    facts = {**machine(), "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type}
    return {**facts, "fingerprint": _hash({name: facts[name] for name in SAME})}


def files_hash(name: str) -> str | None:
    """Of some bytes of the weights of a local folder, and of their sizes; None of any other model."""
    folder = Path(find(name)) if name.startswith("house:") else Path(name).expanduser()
    if not folder.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name} {size};".encode())
        with file.open("rb") as weights:
            for place in range(0, size, max(PIECE, size // PIECES)):
                weights.seek(place)
                digest.update(weights.read(PIECE))
    return digest.hexdigest()[:24]


def weights_hash(network: Any) -> str:
    """Of some bytes of every weight that is not packed: the table and the norms at least."""
    digest = hashlib.sha256()
    for weight_X in _weights(network, set()):
        flat_X = weight_X.detach().reshape(-1)
        step = max(1, len(flat_X) * weight_X.element_size() // SAMPLED)
        some_X = flat_X[::step].contiguous().cpu()  # sync: once a run
        digest.update(f"{tuple(weight_X.shape)} {weight_X.dtype};".encode())
        digest.update(some_X.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:24]


def _weights(part: Any, seen: set[int]) -> Iterator[Tensor]:
    """Plain tensors in fields, sequences and modules, in order."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, Tensor):
        if part.layout == torch.strided and part.numel():
            yield part
    elif isinstance(part, torch.nn.Module):
        yield from (weight for weight in part.state_dict().values() if weight.layout == torch.strided)
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _weights(one, seen)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _weights(getattr(part, field.name), seen)


def _hash(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]
