"""What one forward reads: weights once, tables only where they are the head, experts only where a row is sent."""

import copy

import pytest
import torch

from decant.models.build import LlamaSpec, untrained
from decant.models.cache import Store
from decant.models.fast.lean import Lean
from decant.models.fast.products import AsStored
from decant.models.fast.reading import take
from decant.models.linears import packable, steady
from decant.models.load import load
from decant.models.padded import Padded
from decant.models.traffic import read_bandwidth_gb_s
from tests.models.families import build

FLOAT = 4
WIDE = LlamaSpec(vocab=4096, hidden=64, layers=1, heads=2, kv_heads=1, intermediate=64, head_dim=32)


def parameters(network: torch.nn.Module) -> int:
    """Tied ones once."""
    return sum(weight.numel() for weight in network.parameters())


def table(network) -> int:
    return network.get_input_embeddings().weight.numel()


def weight_bytes(network) -> int:
    return Padded.of(network, 64).weight_bytes()


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "mistral", "phi3"])
def test_a_lean_model_reads_what_the_model_it_came_from_reads(family):
    network = build(family)
    network.tie_weights()
    expected = weight_bytes(network)
    lean = take(copy.deepcopy(network), 64)
    assert isinstance(lean, Lean)
    config = network.config
    filled = -config.intermediate_size % AsStored.whole  # gate, up and down are filled up with zeros
    zeros = 3 * config.num_hidden_layers * config.hidden_size * filled * FLOAT
    assert lean.weight_bytes() - zeros == expected > 0


def test_a_tied_table_is_read_once():
    network = untrained(WIDE, 0)
    assert network.lm_head.weight is network.model.embed_tokens.weight
    assert weight_bytes(network) == FLOAT * parameters(network)


def test_a_table_beside_its_head_is_not_read():
    network = build("llama-untied-bias")
    assert weight_bytes(network) == FLOAT * (parameters(network) - table(network))


def test_positions_of_gpt2_are_a_table_too():
    network = build("gpt2")
    assert weight_bytes(network) == FLOAT * (parameters(network) - network.transformer.wpe.weight.numel())


@pytest.mark.skipif(not packable(torch.float32), reason="this machine packs nothing")
def test_packed_weights_count_as_they_lie_in_memory():
    network = untrained(WIDE, 0)
    plain = FLOAT * parameters(network)
    lean = take(copy.deepcopy(network), 64)
    assert lean.packed == 1  # the head
    packed, _ = steady(network)
    assert packed == 1
    assert lean.weight_bytes() == weight_bytes(network)
    assert plain <= weight_bytes(network) <= 1.1 * plain


@pytest.mark.parametrize("family", ["qwen2-moe", "deepseek-v3"])
def test_a_row_is_sent_to_some_of_the_experts(family):
    network = build(family)
    stacked = sum(weight.numel() for name, weight in network.named_parameters() if ".experts." in name)
    tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
    rest = parameters(network) - stacked - (0 if tied else table(network))
    assert stacked > 0
    assert weight_bytes(network) == FLOAT * (rest + stacked // 2)  # 2 of 4


@pytest.mark.parametrize(
    ("family", "values"),
    [
        ("llama", 3 * 2 * (8 + 8)),  # layers x heads x (keys + values)
        ("gpt2", 3 * 4 * (8 + 8)),
        ("deepseek-v3", 3 * (16 + 8)),  # layers x (the latent + what is rotated)
    ],
)
def test_what_a_token_costs_in_the_cache(family, values, tmp_path):
    assert load(build(family), exact="off").model.network.token_bytes() == FLOAT * values
    build(family).save_pretrained(tmp_path)
    assert load(str(tmp_path), exact="off", dtype="float32").model.network.token_bytes() == FLOAT * values


def test_an_empty_cache_costs_nothing():
    assert Store(3, 1).token_bytes() == 0


def test_a_processor_is_measured_as_for_a_bug_report(monkeypatch):
    monkeypatch.setattr("decant.models.traffic.bandwidth_gb_s", lambda repeats: 7.0 + repeats)
    assert read_bandwidth_gb_s(torch.device("cpu"), repeats=2) == 9
