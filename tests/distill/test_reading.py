"""What is read of a student or teacher is what transformers says, whatever the family."""

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, Phi3Config, Qwen2Config

from decant.distill.texts import Positions, Text, padded
from decant.errors import IncompatibleParts
from decant.models import build
from decant.models.build import LlamaSpec, untrained
from decant.models.student import Looks, read

VOCAB = 24
BATCH = padded([Text.answer([3, 9, 4, 7, 2, 8], 1), Text.answer([5, 6, 7], 2)], 99)


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch) -> None:
    """So that one pass is another, whatever the shapes."""
    monkeypatch.setattr(build, "fast_bfloat16", lambda: False)


def test_what_is_read_is_what_transformers_says() -> None:
    network = untrained(LlamaSpec(VOCAB, 24, 3, 4, 2, 24, head_dim=8), seed=1).eval()
    at = Positions.of(BATCH)
    states = read(network, BATCH.ids_BT, at.row_N, at.at_N, Looks((0, 2, 3, -1), (0, -1)))
    out = network(BATCH.ids_BT, output_hidden_states=True)
    for layer in (0, 2, 3, -1):
        assert torch.equal(states.layers[layer], out.hidden_states[layer])
    assert torch.equal(states.layers[-1][at.row_N, at.at_N], states.hidden_ND), "the last lies behind the norm"
    torch.testing.assert_close(states.logp(slice(None)), out.logits[at.row_N, at.at_N].log_softmax(-1))
    for layer in (0, -1):
        block = network.model.layers[layer]
        inside_BTD = block.input_layernorm(out.hidden_states[layer if layer == 0 else 2])
        for found, name in zip(states.attention[layer], "qkv", strict=True):
            torch.testing.assert_close(found, getattr(block.self_attn, f"{name}_proj")(inside_BTD))
    assert [found.shape[-1] for found in states.attention[0]] == [32, 16, 16]
    assert not network.model.layers[0].self_attn.q_proj._forward_hooks, "nothing stays behind"


def tiny(config) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


SHAPE = {
    "vocab_size": VOCAB,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


def test_biases_and_joined_projections_are_read_too() -> None:
    at = Positions.of(BATCH)
    biased = tiny(Qwen2Config(**SHAPE))
    for part in (biased.model.layers[1].self_attn.q_proj, biased.model.layers[1].self_attn.k_proj):
        nn.init.normal_(part.bias, generator=torch.Generator().manual_seed(0))
    queries_BTF, keys_BTF, _ = read(biased, BATCH.ids_BT, at.row_N, at.at_N, Looks((), (1,))).attention[1]
    inside_BTD = biased(BATCH.ids_BT, output_hidden_states=True).hidden_states[1]
    normed_BTD = biased.model.layers[1].input_layernorm(inside_BTD)
    torch.testing.assert_close(queries_BTF, biased.model.layers[1].self_attn.q_proj(normed_BTD))
    torch.testing.assert_close(keys_BTF, biased.model.layers[1].self_attn.k_proj(normed_BTD))
    joined = tiny(Phi3Config(**SHAPE))
    found = read(joined, BATCH.ids_BT, at.row_N, at.at_N, Looks((), (0,))).attention[0]
    assert [one.shape[-1] for one in found] == [16, 8, 8]
    inside_BTD = joined.model.layers[0].input_layernorm(joined.model.embed_tokens(BATCH.ids_BT))
    torch.testing.assert_close(torch.cat(found, -1), joined.model.layers[0].self_attn.qkv_proj(inside_BTD))


def test_a_family_without_projections_is_refused_by_name() -> None:
    other = tiny(GPT2Config(vocab_size=VOCAB, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0))
    at = Positions.of(BATCH)
    with pytest.raises(IncompatibleParts, match="of the family 'gpt2' has no q_proj, k_proj and v_proj"):
        read(other, BATCH.ids_BT, at.row_N, at.at_N, Looks((), (0,)))
    assert read(other, BATCH.ids_BT, at.row_N, at.at_N, Looks((1,))).layers[1].shape[-1] == 16
