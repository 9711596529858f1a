"""A router is shaped as its paper says, bound to the model that it judges, and read back as it was written."""

from pathlib import Path

import pytest
import torch

from decant.errors import BadInput, IncompatibleParts
from decant.models.build import LlamaSpec
from decant.models.build import untrained as llama
from decant.models.causal import Causal
from decant.models.load import load
from decant.models.router import RouterNet, RouterSpec, best, read, ready, save, untrained

SPEC = RouterSpec(hidden=32, vocab=61, top=10, width=16, blocks=2, threshold=0.37)


@pytest.fixture(scope="module")
def small() -> Causal:
    shape = LlamaSpec(vocab=61, hidden=32, layers=2, heads=2, kv_heads=1, intermediate=48, head_dim=16, positions=64)
    return load(llama(shape), exact="off").model


def test_the_paper_s_shape_has_56_million_weights() -> None:
    with torch.device("meta"):
        net = RouterNet(RouterSpec(hidden=1536, vocab=151_936))
    assert sum(weight.numel() for weight in net.parameters()) == pytest.approx(56e6, rel=0.04)


def test_a_router_beside_a_small_model_is_as_wide(small: Causal) -> None:
    spec = RouterSpec.beside(small.network, blocks=3)
    assert (spec.hidden, spec.width, spec.vocab, spec.top, spec.blocks) == (32, 32, 61, 61, 3)


def test_it_is_read_back_as_it_was_written(tmp_path: Path, small: Causal) -> None:
    net = untrained(SPEC, seed=3).eval()
    save(net, tmp_path / "router")
    again = read(tmp_path / "router")
    assert again.spec == SPEC
    assert not again.training
    inputs = torch.randn(5, 32, generator=torch.Generator().manual_seed(0))
    logits = torch.randn(5, 61, generator=torch.Generator().manual_seed(1))
    tokens = torch.tensor([0, 60, 3, 4, 5])
    one, two = ready(net, small), ready(again, small)
    assert torch.equal(one(inputs, logits, tokens), two(inputs, logits, tokens))
    assert two.threshold == 0.37


def test_every_input_counts(small: Causal) -> None:
    router = ready(untrained(SPEC).eval(), small)
    hidden, logits, tokens = torch.linspace(-1, 1, 32)[None], torch.linspace(2, -2, 61)[None], torch.tensor([4])
    score = router(hidden, logits, tokens)
    assert not torch.equal(router(hidden + 1, logits, tokens), score)
    assert not torch.equal(router(hidden, 2 * logits, tokens), score)
    assert not torch.equal(router(hidden, logits, tokens + 1), score)


def test_a_forbidden_logit_is_a_number() -> None:
    assert best(torch.tensor([[1.0, -torch.inf, 3.0]]), 3).tolist() == [[3.0, 1.0, 1.0]]


def test_another_small_model_is_refused(small: Causal) -> None:
    with pytest.raises(
        IncompatibleParts, match="trained beside a model of width 64 and 61 ids, but the draft model has"
    ):
        ready(untrained(RouterSpec(hidden=64, vocab=61, top=5, width=8)), small)


def test_a_folder_without_a_router_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no router that can be read"):
        read(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match="'router'"):
        read(tmp_path)
