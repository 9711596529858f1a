from pathlib import Path

import pytest

from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.causal import Causal
from decant.models.load import load


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Causal, Causal]:
    """Two untrained Llamas of one vocabulary: a target and a smaller one, through decant's own forward pass."""
    return _loaded(tmp_path_factory.mktemp("target"), 3, 0), _loaded(tmp_path_factory.mktemp("small"), 2, 1)


@pytest.fixture(scope="session")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Causal:
    """The target through transformers."""
    return _loaded(tmp_path_factory.mktemp("padded"), 3, 0, lean=False)


def _loaded(folder: Path, layers: int, seed: int, lean: bool = True) -> Causal:
    spec = LlamaSpec(
        vocab=61, hidden=32, layers=layers, heads=2, kv_heads=1, intermediate=48, head_dim=16, positions=256
    )
    model = untrained(spec, seed)
    for weight in model.parameters():
        weight.data.mul_(3)
    model.model.norm.weight.data.mul_(5)  # laws far from flat, so that nothing is nearly tied
    save_folder(model, folder)
    return load(str(folder), exact="off", lean=lean).model
