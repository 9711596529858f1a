"""A folder that plain transformers loads: weights, configurations, tokenizer with its chat template."""

from pathlib import Path

import torch
from torch import Tensor

from decant.export.source import Source


def write(source: Source, out: Path) -> None:
    """The model in its own types; in bfloat16 on disk where every weight fits, as config.json's dtype still asks for
    its own."""
    found = _own(source.network.state_dict())
    narrow = {name: weight.bfloat16() for name, weight in found.items()}
    if not all(torch.equal(narrow[name].to(weight.dtype), weight) for name, weight in found.items()):
        narrow = found
    source.network.save_pretrained(out, state_dict=narrow)
    for file in out.glob("*.safetensors"):
        file.chmod(0o644)  # transformers leaves it to the owner alone
    if source.tokenizer is not None:
        source.tokenizer.save_pretrained(out)


def _own(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without second names of one tensor: an output matrix that is the embedding is not written twice."""
    kept: dict[str, Tensor] = {}
    seen: set[tuple[int, ...]] = set()
    for name, weight in weights.items():
        place = (weight.data_ptr(), *weight.shape)
        if weight.numel() and place in seen:
            continue
        seen.add(place)
        kept[name] = weight.contiguous()
    return kept
