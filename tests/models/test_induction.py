import pytest
import torch

from decant.errors import IncompatibleParts
from decant.models.build import LlamaSpec, logits_where, untrained
from decant.models.induction import plant

SPEC = LlamaSpec(vocab=512, hidden=128, layers=3, heads=4, kv_heads=2, intermediate=96)


@torch.no_grad()
def copies(model, length: int = 30) -> float:
    """How often the most likely token of the second half of `x x` is the right one, for random x."""
    half_BT = torch.randint(8, 512, (4, length), generator=torch.Generator().manual_seed(1))
    ids_BT = torch.cat([half_BT, half_BT], 1)
    wanted_BT = torch.zeros_like(ids_BT, dtype=torch.bool)
    wanted_BT[:, length + 1 :] = True
    best_N = logits_where(model, ids_BT, wanted_BT).argmax(-1)
    return float((best_N == ids_BT[wanted_BT]).float().mean())


def test_a_planted_model_copies_before_any_training():
    model = untrained(SPEC)
    assert copies(model) < 0.05
    plant(model)
    assert copies(model) > 0.5


@pytest.mark.parametrize("layer", [0, 1])
def test_both_layers_are_needed(layer):
    model = untrained(SPEC)
    plant(model)
    with torch.no_grad():
        model.model.layers[layer].self_attn.o_proj.weight.zero_()
    assert copies(model) < 0.2


def test_the_same_seed_plants_the_same_weights():
    one, same, other = (untrained(SPEC) for _ in range(3))
    plant(one, seed=0)
    plant(same, seed=0)
    plant(other, seed=1)
    assert torch.equal(one.model.layers[1].self_attn.v_proj.weight, same.model.layers[1].self_attn.v_proj.weight)
    assert not torch.equal(one.model.layers[1].self_attn.v_proj.weight, other.model.layers[1].self_attn.v_proj.weight)


def test_a_model_without_room_is_refused():
    narrow = LlamaSpec(vocab=64, hidden=64, layers=2, heads=2, kv_heads=1, intermediate=48)
    with pytest.raises(IncompatibleParts, match="hidden 64 leaves no room beside 2 heads of 32"):
        plant(untrained(narrow))
    with pytest.raises(IncompatibleParts, match="needs two layers, not 1"):
        plant(untrained(LlamaSpec(vocab=64, hidden=128, layers=1, heads=2, kv_heads=2, intermediate=48)))
