"""The model as files that every engine starts from."""

import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from decant.models.widen import widen as enlarge


def write(source: Path, target: Path, widen: str | None) -> Path:
    """The model of folder `source` in bfloat16, enlarged to `widen` parameters, with its tokenizer."""
    network = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16, use_safetensors=True)
    if widen is not None:
        network = enlarge(network, widen)
    network.save_pretrained(target)
    for file in source.glob("tokenizer*"):
        shutil.copy(file, target)
    return target
