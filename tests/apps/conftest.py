"""A target and a draft in Hugging Face format, tiny and untrained, that share a tokenizer with a chat template."""

from pathlib import Path

import pytest
import torch

from decant.house import tokenizer as words
from decant.models.build import LlamaSpec, add_settings, save_folder, untrained
from decant.models.load import Loaded, load
from decant.models.masked.training import adapt
from tests.apps.pictures import write_pictures

CONTEXT = 1024
MASK = "<|mask|>"
LINES = [f"Take {a}, then add {b}. The answer is {a + b}.\nNaïve café, 日本語.\n" for a in range(30) for b in range(5)]


def write_model(folder: Path, hidden: int, layers: int, seed: int, texts: list[str]) -> Path:
    spelling = words.train(texts)
    words.write_folder(spelling, folder)
    spec = LlamaSpec(
        vocab=spelling.get_vocab_size(),
        hidden=hidden,
        layers=layers,
        heads=2,
        kv_heads=1,
        intermediate=2 * hidden,
        head_dim=16,
        positions=CONTEXT,
        eos=(spelling.token_to_id(words.END),),
        pad=spelling.token_to_id(words.PAD),
    )
    save_folder(untrained(spec, seed), folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def nothing_is_kept_at_home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DECANT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def draft_folder(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "draft", 16, 1, seed=1, texts=LINES)


@pytest.fixture(scope="session")
def folder(draft_folder: Path) -> Path:
    target = write_model(draft_folder.parent / "target", 32, 2, seed=0, texts=LINES)
    add_settings(target, "decant.json", {"draft": "../draft"})
    return target


@pytest.fixture(scope="session")
def stranger_folder(draft_folder: Path) -> Path:
    """A model of another tokenizer."""
    return write_model(draft_folder.parent / "stranger", 16, 1, seed=2, texts=["zebra quagga " * 40])


@pytest.fixture(scope="session")
def target(folder: Path) -> Loaded:
    return load(str(folder), dtype="float32")


@pytest.fixture(scope="session")
def draft(draft_folder: Path) -> Loaded:
    return load(str(draft_folder), dtype="float32", exact="off")


@pytest.fixture(scope="session")
def stranger(stranger_folder: Path) -> Loaded:
    return load(str(stranger_folder), dtype="float32", exact="off")


@pytest.fixture(scope="session")
def filler_folder(tmp_path_factory) -> Path:
    """A model that fills in masks, whose tokenizer knows a name for the mask. Weights are six times what training
    starts from, so that places heed each other."""
    spelling = words.train(LINES)
    spec = LlamaSpec(
        vocab=spelling.get_vocab_size(),
        hidden=32,
        layers=2,
        heads=2,
        kv_heads=1,
        intermediate=64,
        head_dim=16,
        positions=160,
        eos=(spelling.token_to_id(words.END),),
        pad=spelling.token_to_id(words.PAD),
    )
    folder = tmp_path_factory.mktemp("models") / "filler"
    network = untrained(spec, 0)
    mask = adapt(network).mask_token_id
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() > 1:
                weight.mul_(6.0)
    spelling.add_special_tokens([MASK])
    assert spelling.token_to_id(MASK) == mask
    words.write_folder(spelling, folder)
    save_folder(network, folder)
    return folder


@pytest.fixture(scope="session")
def filler(filler_folder: Path) -> Loaded:
    return load(str(filler_folder), dtype="float32")


@pytest.fixture(scope="session")
def pictures_folder(tmp_path_factory) -> Path:
    """A model of images in raster order, whose decant.json names a judge."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))
