"""From a transformers model to a lean one: which configurations are understood, and where their weights lie.

| family | what it adds to Llama |
|---|---|
| Llama, SmolLM | (biases where config.json asks for them) |
| Mistral | a sliding window, which the mask carries |
| Qwen2 | biases on queries, keys and values |
| Qwen3 | norms of queries and keys |
| Phi-3 | fused weights in the file |

Everything else runs through transformers itself.
"""

from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.fast.lean import Angles, Layer, Lean, Norm
from decant.models.fast.products import Make, Plain, Product, product

FAMILIES: Final = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM")
ROPES: Final = ("default", "linear", "llama3", "yarn")  # angles that depend on the position alone


def why_not(network: PreTrainedModel) -> str | None:
    """Why a model is not read here; None where it is."""
    config, name = network.config, type(network).__name__
    rope: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    if name not in FAMILIES:
        return f"{name} runs through transformers"
    if rope.get("rope_type", "default") not in ROPES:
        return f"rotary embeddings of type {rope['rope_type']} run through transformers"
    if rope.get("partial_rotary_factor", 1) != 1:
        return "partly rotated heads run through transformers"
    if config.hidden_act != "silu":
        return f"the activation {config.hidden_act} runs through transformers"
    if getattr(config, "layer_types", None) and len(set(config.layer_types)) > 1:
        return "alternating sliding windows run through transformers"
    return None


@torch.no_grad()
def take(network: PreTrainedModel, make: Make = product) -> Lean:
    """The lean model. Weights leave `network` one by one, so that none is held twice; it is of no use after that."""
    config: Any = network.config
    body: Any = network.model
    head: Any = network.get_output_embeddings()
    table = body.embed_tokens.weight.detach()
    said = make(head.weight, head.bias)
    if head.weight is not body.embed_tokens.weight:
        _empty(head)
    layers = [_layer(layer, make) for layer in body.layers]
    products = [part for layer in layers for part in (layer.read, layer.write, layer.gate, layer.up, layer.down)]
    return Lean(
        architecture=type(network).__name__,
        config=config,
        table=table,
        layers=layers,
        norm=_norm(body.norm),
        head=said,
        angles=Angles(body.rotary_emb, table.dtype, table.device),
        heads=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        packed=sum(not isinstance(part, Plain) for part in (said, *products)),
    )


def _layer(layer: Any, make: Make) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    if hasattr(attention, "qkv_proj"):
        read = _taken(attention.qkv_proj, make)
        gate, up = _halves(mlp.gate_up_proj, make)
    else:
        read = _joined([attention.q_proj, attention.k_proj, attention.v_proj], make)
        gate, up = _taken(mlp.gate_proj, make), _taken(mlp.up_proj, make)
    return Layer(
        first_norm=_norm(layer.input_layernorm),
        read=read,
        write=_taken(attention.o_proj, make),
        second_norm=_norm(layer.post_attention_layernorm),
        gate=gate,
        up=up,
        down=_taken(mlp.down_proj, make),
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        scale=attention.scaling,
    )


def _norm(norm: Any) -> Norm:
    return Norm(norm.weight.detach(), norm.variance_epsilon)


def _taken(plain: nn.Linear, make: Make) -> Product:
    made = make(plain.weight, plain.bias)
    _empty(plain)
    return made


def _halves(both: nn.Linear, make: Make) -> Iterator[Product]:
    bias = (None, None) if both.bias is None else both.bias.chunk(2)
    made = [make(weight, part) for weight, part in zip(both.weight.chunk(2), bias, strict=True)]
    _empty(both)
    return iter(made)


def _joined(parts: list[nn.Linear], make: Make) -> Product:
    biases = [part.bias.detach() for part in parts if part.bias is not None]
    made = make(torch.cat([part.weight.detach() for part in parts]), torch.cat(biases) if biases else None)
    for part in parts:
        _empty(part)
    return made


def _empty(plain: nn.Linear) -> None:
    """Let go of the weight."""
    gone: Tensor = plain.weight.new_empty(0)
    plain.weight = nn.Parameter(gone, requires_grad=False)
