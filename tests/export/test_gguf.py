"""What stands in a GGUF file: every tensor, turned as GGUF's Llama turns it, sizes, and the tokenizer."""

import sys

import numpy as np
import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

from decant.errors import BadInput, IncompatibleParts, MissingExtra
from decant.export.gguf_file import interleaved, lossless, read_back, write
from decant.models.build import LlamaSpec, untrained

gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (make peers)")
SPEC = LlamaSpec(vocab=96, hidden=32, layers=2, heads=4, kv_heads=2, intermediate=64, head_dim=8, positions=64)


@pytest.fixture(scope="module")
def model():
    return untrained(SPEC)


@pytest.fixture(scope="module")
def read(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    written = write(model, None, file)
    assert (written.weights, written.spelling) == ("f32", None)
    return gguf.GGUFReader(file)


def tensor(reader, name: str) -> torch.Tensor:
    found = next(one for one in reader.tensors if one.name == name)
    return torch.from_numpy(np.array(found.data))


def test_every_weight_is_there_and_of_its_shape(model, read):
    shapes = {one.name: tuple(reversed(one.shape.tolist())) for one in read.tensors}
    assert shapes["token_embd.weight"] == (96, 32)
    assert shapes["blk.1.attn_k.weight"] == (16, 32)
    assert shapes["blk.1.ffn_down.weight"] == (32, 64)
    assert "output.weight" not in shapes  # tied
    assert sorted(np.prod(shape) for shape in shapes.values()) == sorted(w.numel() for w in model.parameters())
    assert torch.equal(tensor(read, "output_norm.weight"), model.model.norm.weight)
    assert torch.equal(tensor(read, "blk.0.attn_v.weight"), model.model.layers[0].self_attn.v_proj.weight)


def test_sizes_are_what_the_configuration_says(read):
    wanted = {
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.embedding_length": 32,
        "llama.feed_forward_length": 64,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 8,
        "llama.rope.dimension_count": 8,
        "llama.rope.freq_base": 100_000.0,
        "llama.context_length": 64,
        "llama.vocab_size": 96,
    }
    assert {name: read.fields[name].contents() for name in wanted} == wanted
    assert read.fields["llama.attention.layer_norm_rms_epsilon"].contents() == pytest.approx(1e-6)


def halves(rows_HPW: torch.Tensor, angles_PW: torch.Tensor) -> torch.Tensor:
    """RoPE as Hugging Face turns: pairs half a head apart."""
    one, two = rows_HPW.chunk(2, -1)
    return torch.cat([one * angles_PW.cos() - two * angles_PW.sin(), two * angles_PW.cos() + one * angles_PW.sin()], -1)


def neighbours(rows_HPW: torch.Tensor, angles_PW: torch.Tensor) -> torch.Tensor:
    """RoPE as GGUF's Llama turns: neighbouring pairs."""
    one, two = rows_HPW[..., ::2], rows_HPW[..., 1::2]
    turned = one * angles_PW.cos() - two * angles_PW.sin(), two * angles_PW.cos() + one * angles_PW.sin()
    return torch.stack(turned, -1).flatten(-2)


def scores(query: torch.Tensor, key: torch.Tensor, turn) -> torch.Tensor:
    """query . key of each head and pair of positions, of random rows."""
    x_PD = torch.randn(5, SPEC.hidden, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    angles_PW = torch.arange(5, dtype=torch.float64)[:, None] * 100_000.0 ** -(torch.arange(4) / 4)
    query_HPW = turn((x_PD @ query.double().T).unflatten(-1, (SPEC.heads, -1)).transpose(0, 1), angles_PW)
    key_HPW = turn((x_PD @ key.double().T).unflatten(-1, (SPEC.kv_heads, -1)).transpose(0, 1), angles_PW)
    return query_HPW @ key_HPW.repeat_interleave(SPEC.heads // SPEC.kv_heads, 0).transpose(-1, -2)


def test_neighbours_turned_say_what_halves_turned_said(model, read):
    """And where rows stay in their places, they do not: the fault that this would catch."""
    here = model.model.layers[0].self_attn
    plain = here.q_proj.weight, here.k_proj.weight
    there = tensor(read, "blk.0.attn_q.weight"), tensor(read, "blk.0.attn_k.weight")
    expected = scores(*plain, halves)
    assert torch.allclose(scores(*there, neighbours), expected, atol=1e-9)
    assert not torch.allclose(scores(*plain, neighbours), expected, atol=1e-3)


def test_rows_only_change_places():
    rows = torch.arange(16.0)[:, None].expand(-1, 3)
    assert interleaved(rows, 2)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]


@pytest.mark.parametrize(("dtype", "kind"), [(torch.bfloat16, "bf16"), (torch.float16, "f16")])
def test_auto_is_the_smallest_type_that_loses_nothing(dtype, kind):
    model = untrained(SPEC)
    assert lossless(model) == "f32"
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(dtype))
    assert lossless(model) == kind


def test_rows_that_are_no_whole_blocks_are_left_in_half_precision(tmp_path):
    spec = LlamaSpec(vocab=96, hidden=48, layers=1, heads=2, kv_heads=1, intermediate=64, head_dim=16)
    write(untrained(spec), None, tmp_path / "model.gguf", "q8_0")
    kinds = {one.name: one.tensor_type.name for one in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert kinds["blk.0.ffn_down.weight"] == "Q8_0"
    assert kinds["blk.0.ffn_up.weight"] == "F16"
    assert kinds["blk.0.ffn_norm.weight"] == "F32"


def test_qwen_keeps_its_rows_and_its_biases(tmp_path):
    config = Qwen2Config(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, use_sliding_window=False, tie_word_embeddings=False,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2ForCausalLM(config)
    write(model, None, tmp_path / "model.gguf", "f32")
    reader = gguf.GGUFReader(tmp_path / "model.gguf")
    here = model.model.layers[0].self_attn
    assert reader.fields["general.architecture"].contents() == "qwen2"
    assert torch.equal(tensor(reader, "blk.0.attn_q.weight"), here.q_proj.weight)
    assert torch.equal(tensor(reader, "blk.0.attn_q.bias"), here.q_proj.bias)
    assert torch.equal(tensor(reader, "output.weight"), model.lm_head.weight)


def test_without_the_package_the_command_that_installs_it_is_said(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(MissingExtra, match=r"gguf is not installed: pip install 'decant\[gguf\]'"):
        write(model, None, tmp_path / "a")


def test_a_file_that_lacks_a_tensor_is_seen(read, tmp_path):
    with pytest.raises(RuntimeError, match=r"holds 20 tensors, 21 were written"):
        read_back(read.data.filename, len(read.tensors) + 1)


def test_what_is_not_written_is_refused(model, tmp_path):
    with pytest.raises(BadInput, match="weights 'int4' are no GGUF type that is written here; take auto, f32"):
        write(model, None, tmp_path / "a", "int4")
    config = MistralConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=16,
    )  # fmt: skip
    with torch.random.fork_rng():
        windowed = MistralForCausalLM(config)
    with pytest.raises(IncompatibleParts, match="has no sliding window, this model has 16"):
        write(windowed, None, tmp_path / "b")
    model.config.rope_parameters["rope_type"] = "yarn"
    with pytest.raises(IncompatibleParts, match="no RoPE scaling 'yarn' that is written here"):
        write(model, None, tmp_path / "c")
    model.config.rope_parameters["rope_type"] = "default"
    assert not list(tmp_path.iterdir())
