"""Heads computed as vLLM and SGLang compute them, from nothing but the files of an export, in plain torch.

Source: vllm-project/vllm, model_executor/models/{llama_eagle3,llama_eagle,medusa}.py at 00bd149, 00da923, 01dbb08.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import linear, rms_norm, scaled_dot_product_attention, silu

State = dict[str, Tensor]


def opened(folder: Path) -> tuple[dict[str, Any], State]:
    """config.json, and the weights in float32."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    return config, {name: weight.float() if weight.is_floating_point() else weight for name, weight in weights.items()}


def turned(rows_HTW: Tensor, theta: float) -> Tensor:
    """RoPE, pairs half a head apart; row t at position t."""
    half = rows_HTW.shape[-1] // 2
    angles_TW = torch.arange(rows_HTW.shape[1])[:, None] * theta ** -(torch.arange(half) / half)
    one, two = rows_HTW.chunk(2, -1)
    return torch.cat([one * angles_TW.cos() - two * angles_TW.sin(), two * angles_TW.cos() + one * angles_TW.sin()], -1)


def layer(config: dict[str, Any], weights: State, prefix: str, inputs_TE: Tensor, residual_TD: Tensor) -> Tensor:
    """A Llama layer behind its norms, the residual added."""

    def of(name: str) -> Tensor:
        return weights[f"{prefix}{name}.weight"]

    width, eps = config["head_dim"], config["rms_norm_eps"]
    query, key, value = (
        linear(inputs_TE, of(f"self_attn.{part}_proj")).unflatten(-1, (-1, width)).transpose(0, 1) for part in "qkv"
    )
    query, key = (turned(rows, config["rope_theta"]) for rows in (query, key))
    groups = len(query) // len(key)
    key, value = (rows.repeat_interleave(groups, 0) for rows in (key, value))
    mixed = scaled_dot_product_attention(query, key, value, is_causal=True).transpose(0, 1).flatten(1)
    x_TD = residual_TD + linear(mixed, of("self_attn.o_proj"))
    normed = rms_norm(x_TD, x_TD.shape[-1:], of("post_attention_layernorm"), eps)
    return x_TD + linear(
        silu(linear(normed, of("mlp.gate_proj"))) * linear(normed, of("mlp.up_proj")), of("mlp.down_proj")
    )


def eagle3(folder: Path, table_VD: Tensor, ids_T: Tensor, hidden_TF: Tensor) -> Tensor:
    """logits_TV over the target's ids; row t knows token t + 1 and the target's states of token t."""
    config, weights = opened(folder)
    weights = {name.replace("midlayer.", "layers.0."): weight for name, weight in weights.items()}
    eps, wide = config["rms_norm_eps"], (config["hidden_size"],)
    state_TD = linear(hidden_TF, weights["fc.weight"])
    token_TD = rms_norm(table_VD[ids_T], wide, weights["layers.0.input_layernorm.weight"], eps)
    level_TD = rms_norm(state_TD, wide, weights["layers.0.hidden_norm.weight"], eps)
    residual_TD = level_TD if config.get("norm_before_residual") else state_TD  # vLLM's alone: SGLang reads no such key
    out_TD = layer(config, weights, "layers.0.", torch.cat([token_TD, level_TD], -1), residual_TD)
    said = linear(rms_norm(out_TD, wide, weights["norm.weight"], eps), weights["lm_head.weight"])
    if "d2t" not in weights:
        return said
    whole = said.new_full((len(said), config["vocab_size"]), -torch.inf)
    whole[:, torch.arange(config["draft_vocab_size"]) + weights["d2t"]] = said
    return whole


def eagle(folder: Path, table_VD: Tensor, ids_T: Tensor, hidden_TD: Tensor) -> Tensor:
    """state_TD, which the target's output matrix reads."""
    config, weights = opened(folder)
    x_TD = linear(torch.cat([table_VD[ids_T], hidden_TD], -1), weights["fc.weight"], weights.get("fc.bias"))
    return layer(config, weights, "layers.0.", x_TD, x_TD)


def medusa(folder: Path, hidden_TD: Tensor) -> Tensor:
    """logits_TKV over the target's ids."""
    config, weights = opened(folder)
    said = []
    for head in range(config["num_heads"]):
        x_TD = hidden_TD
        for at in range(config["num_hidden_layers"]):
            part = f"blocks.{head}.layers.{at}"
            x_TD = x_TD + silu(linear(x_TD, weights[f"{part}.weight"], weights[f"{part}.bias"]))
        matrix = weights["lm_heads.0.weight" if config["original_lm_head"] else f"lm_heads.{head}.weight"]
        said.append(linear(x_TD, matrix))
    logits_TKV = torch.stack(said, 1)
    if "token_map" not in weights:
        return logits_TKV
    whole = logits_TKV.new_full((*logits_TKV.shape[:2], config["vocab_size"]), -torch.inf)
    whole[..., weights["token_map"]] = logits_TKV
    return whole
