"""What is measured of exits: the last layer against itself, a layer that says the same, nats by hand."""

import pytest
import torch
from torch import Tensor

from decant.distill.exits import measure
from decant.models.build import Llama, LlamaSpec, next_token_nats, untrained

SPEC = LlamaSpec(vocab=23, hidden=32, layers=4, heads=2, kv_heads=1, intermediate=48, head_dim=16)


def opinionated() -> Llama:
    """Fresh weights repeat the last token at every exit."""
    model = untrained(SPEC)
    for layer in model.model.layers:
        for weight in layer.parameters():
            weight.data.mul_(8.0 if weight.dim() == 2 else 1.0)
    return model


def batch(step: int) -> tuple[Tensor, Tensor]:
    ids_BT = torch.randint(23, (3, 9), generator=torch.Generator().manual_seed(step))
    weights_BT = torch.ones(3, 9)
    weights_BT[:, :4] = 0
    weights_BT[1, 7] = 2.0
    return ids_BT, weights_BT


def test_nats_are_those_of_the_loss_for_every_token() -> None:
    model = opinionated()
    found = measure(model, map(batch, range(2)))
    wanted = sum(float(next_token_nats(model, *batch(step)).detach()) for step in range(2))
    assert found.nats[-1] == pytest.approx(wanted / sum(float(batch(step)[1][:, 1:].sum()) for step in range(2)), 1e-2)
    assert model.training is untrained(SPEC).training


def test_a_layer_that_adds_nothing_agrees_with_the_one_below() -> None:
    model = opinionated()
    for layer in model.model.layers[2:]:
        for matrix in (layer.self_attn.o_proj, layer.mlp.down_proj):
            matrix.weight.data.zero_()
    found = measure(model, [batch(0)])
    assert found.agreement[1:] == (1.0, 1.0, 1.0)
    assert found.agreement[0] < 1.0, "a planted difference shows"
    assert found.nats[1] == pytest.approx(found.nats[3], 1e-3)


def test_agreement_counts_positions_with_a_weight() -> None:
    model = opinionated()
    ids_BT, weights_BT = batch(0)
    states = model.model(input_ids=ids_BT, use_cache=False, output_hidden_states=True).hidden_states
    said_ETV = [model.lm_head(model.model.norm(states[1])), model.lm_head(states[-1])]
    same_BT = (said_ETV[0].argmax(-1) == said_ETV[1].argmax(-1))[:, :-1]
    wanted = float(same_BT[weights_BT[:, 1:] > 0].double().mean())
    assert 0 < wanted < 1
    assert measure(model, [batch(0)]).agreement[0] == pytest.approx(wanted, abs=0.1)  # 15 positions, bfloat16
