"""A Llama in Hugging Face format as a GGUF file, for the engines that read nothing else."""

import json
from pathlib import Path
from typing import Any

import gguf
import torch
from safetensors import safe_open
from torch import Tensor

from .seam import CannotRun


def write(folder: Path, file: Path, kind: str) -> Path:
    """Write the model of `folder` to `file`, its matrices as `kind` (BF16, F16, Q8_0), its norms in float32.

    Raises CannotRun for other architectures: each has names and layouts of its own here.
    """
    config = json.loads((folder / "config.json").read_text())
    if config["architectures"] != ["LlamaForCausalLM"]:
        raise CannotRun(f"only Llama is written as GGUF here, this is {config['architectures'][0]}")
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer, config, gguf.LlamaFileType[f"MOSTLY_{kind}"])
    _spell(writer, json.loads((folder / "tokenizer.json").read_text()), config)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    matrix, vector = gguf.GGMLQuantizationType[kind], gguf.GGMLQuantizationType.F32
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, "pt") as weights:
            for name in list(weights.keys()):
                weight = _interleaved(name, weights.get_tensor(name).float(), config)
                stored = vector if weight.dim() == 1 else _fitting(matrix, weight)
                known = names.get_name(name, (".weight",))
                if known is None:
                    raise CannotRun(f"GGUF has no name for {name}")
                writer.add_tensor(known, gguf.quantize(weight.numpy(), stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _fitting(kind: gguf.GGMLQuantizationType, weight: Tensor) -> gguf.GGMLQuantizationType:
    """float16 for rows that are no whole number of blocks."""
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    return kind if weight.shape[1] % block == 0 else gguf.GGMLQuantizationType.F16


def _describe(writer: gguf.GGUFWriter, config: dict[str, Any], kind: int) -> None:
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    writer.add_name("model")
    writer.add_file_type(kind)
    writer.add_vocab_size(config["vocab_size"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _spell(writer: gguf.GGUFWriter, tokenizer: dict[str, Any], config: dict[str, Any]) -> None:
    """A byte-level BPE. Engines are given ids: how text is split before the merges does not matter here."""
    tokens = [f"[unused {token}]" for token in range(config["vocab_size"])]
    types = [gguf.TokenType.UNUSED] * len(tokens)
    for text, token in tokenizer["model"]["vocab"].items():
        tokens[token], types[token] = text, gguf.TokenType.NORMAL
    for row in tokenizer["added_tokens"]:
        tokens[row["id"]], types[row["id"]] = row["content"], gguf.TokenType.CONTROL
    ends = config["eos_token_id"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_eos_token_id(ends if isinstance(ends, int) else ends[0])
    writer.add_add_bos_token(False)


def _interleaved(name: str, weight: Tensor, config: dict[str, Any]) -> Tensor:
    """GGUF's Llama turns neighbouring rows of queries and keys, Hugging Face's turns rows half a head apart."""
    heads = config["num_attention_heads"]
    if "k_proj" in name:
        heads = config.get("num_key_value_heads") or heads
    elif "q_proj" not in name:
        return weight
    return torch.stack(weight.unflatten(0, (heads, 2, -1)).unbind(1), 2).reshape(weight.shape)
