"""A tiny untrained Llama behind the causal adapter: its cache shows what a drafter numbers wrongly."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.causal import Causal
from decant.models.load import load


@cache
def llama(seed: int = 0) -> Causal:
    spec = LlamaSpec(vocab=61, hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, head_dim=16, positions=256)
    model = untrained(spec, seed)
    for weight in model.parameters():
        weight.data.mul_(3)
    model.model.norm.weight.data.mul_(5)  # laws far from flat, so that nothing is nearly tied
    with TemporaryDirectory() as folder:
        save_folder(model, Path(folder))
        return load(folder, exact="off").model
