import sys

import pytest
import torch

from decant.errors import BadInput, MissingExtra
from decant.models.build import LlamaSpec, save_folder, untrained
from decant.models.lora import Adapters, merged, wrap
from decant.models.student import read

IDS = torch.arange(12).reshape(2, 6)


def network():
    return untrained(LlamaSpec(32, 16, 2, 2, 1, 24, head_dim=8), seed=0).eval()


@torch.no_grad()
def said(model):
    return read(model, IDS, torch.tensor([0, 1]), torch.tensor([4, 5])).logp(slice(None))


def taught(model):
    """Adapters that do something."""
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.copy_(0.5 * torch.randn(weight.shape, generator=rng))
    return model


@pytest.fixture(autouse=True)
def _peft(monkeypatch):
    pytest.importorskip("peft", reason="the extra [lora] is not installed")
    monkeypatch.setattr("decant.models.build.fast_bfloat16", lambda: False)


def test_fresh_adapters_change_nothing_and_alone_are_learnt():
    model = wrap(network(), Adapters(rank=2))
    assert torch.equal(said(model), said(network()))
    learnt = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert len(learnt) == 2 * 7 * 2  # two thin ones beside each of a layer's seven matrices
    assert all("lora_" in name for name in learnt)


def test_a_merged_copy_says_the_same_without_adapters(tmp_path):
    model = taught(wrap(network(), Adapters(rank=2, alpha=8.0, targets=("q_proj", "down_proj"))))
    before = said(model)
    assert not torch.allclose(before, said(network()), atol=0.1)
    plain = merged(model)
    torch.testing.assert_close(said(plain), before, atol=1e-4, rtol=0)
    assert plain.state_dict().keys() == network().state_dict().keys()
    assert torch.equal(said(model), before)  # it is a copy
    assert any(weight.requires_grad for weight in model.parameters())
    save_folder(plain, tmp_path, torch.float32)
    torch.testing.assert_close(said(type(plain).from_pretrained(tmp_path).eval()), before, atol=1e-4, rtol=0)


def test_the_scale_is_alpha_over_rank():
    one, four = (taught(wrap(network(), Adapters(rank=2, alpha=alpha, targets=("q_proj",)))) for alpha in (2.0, 8.0))
    changes = [
        merged(model).get_parameter("model.layers.0.self_attn.q_proj.weight")
        - network().get_parameter("model.layers.0.self_attn.q_proj.weight")
        for model in (one, four)
    ]
    torch.testing.assert_close(changes[1], 4 * changes[0], atol=1e-5, rtol=1e-4)
    assert torch.linalg.matrix_rank(changes[0], atol=1e-4) == 2


def test_the_same_seed_makes_the_same_adapters():
    one, two, other = (wrap(network(), Adapters(rank=2, seed=seed)).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_impossible_adapters_are_refused(monkeypatch):
    with pytest.raises(BadInput, match=r"no module's name ends in mlp_proj; there are .*q_proj.*, or all-linear"):
        wrap(network(), Adapters(targets=("mlp_proj",)))
    with pytest.raises(BadInput, match="rank must be at least 1, got 0"):
        Adapters(rank=0)
    with pytest.raises(BadInput, match="adapters need targets"):
        Adapters(targets=())
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"pip install 'decant\[lora\]'"):
        wrap(network(), Adapters())
