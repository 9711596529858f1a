"""From a transformers model to a lean one: which configurations are understood, and where their weights lie.

| family | what it adds to Llama |
|---|---|
| Llama, SmolLM | (biases where config.json asks for them) |
| Mistral | a sliding window, which the mask carries |
| Qwen2 | biases on queries, keys and values |
| Qwen3 | norms of queries and keys |
| Phi-3 | fused weights in the file |
| StarCoder2 | centred norms, biases, one matrix and GELU in place of the gate |

Everything else runs through transformers itself.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from decant.models import rounded
from decant.models.attention import MaskForm
from decant.models.fast.lean import Angles, Centred, Layer, Lean, Norm
from decant.models.fast.products import AsStored, Gated, Layout, Product, Ungated
from decant.models.machine import hand_back

FAMILIES: Final = (
    *("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM", "Phi3ForCausalLM"),
    "Starcoder2ForCausalLM",
)
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
    if config.hidden_act != ("gelu_pytorch_tanh" if name.startswith("Starcoder2") else "silu"):
        return f"the activation {config.hidden_act} runs through transformers"
    if getattr(config, "layer_types", None) and len(set(config.layer_types)) > 1:
        return "alternating sliding windows run through transformers"
    return None


@torch.no_grad()
def take(
    network: PreTrainedModel,
    positions: int,
    layout: Layout = AsStored(),  # noqa: B008  (frozen)
    head: Layout | None = None,
) -> Lean:
    """The lean model, for texts of so many positions. head: the layout of the output matrix, where it is another.

    Weights leave `network` one by one, so that none is held twice; it is of no use after that.
    """
    config: Any = network.config
    body: Any = network.model
    last: Any = network.get_output_embeddings()
    table = _own(body.embed_tokens.weight)
    said = (head or layout).product(last.weight, last.bias)
    if last.weight is not body.embed_tokens.weight:
        _empty(last)
    layers = []
    for layer in body.layers:
        layers.append(_layer(layer, layout))
        hand_back()
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
        width=body.layers[0].self_attn.head_dim,
        positions=positions,
        window=MaskForm.of(config, table.dtype).window,
    )


def _layer(layer: Any, layout: Layout) -> Layer:
    attention, mlp = layer.self_attn, layer.mlp
    down = mlp.c_proj if hasattr(mlp, "c_proj") else mlp.down_proj
    more = -down.in_features % layout.whole
    if hasattr(attention, "qkv_proj"):
        read = _taken(attention.qkv_proj, layout)
    else:
        read = _joined([attention.q_proj, attention.k_proj, attention.v_proj], layout)
    if hasattr(mlp, "c_fc"):
        gated = _ungated(mlp.c_fc, layout, more)
    elif hasattr(mlp, "gate_up_proj"):
        gated = _halves(mlp.gate_up_proj, layout, more)
    else:
        gated = _pair(mlp.gate_proj, mlp.up_proj, layout, more)
    return Layer(
        first_norm=_norm(layer.input_layernorm),
        read=read,
        write=_taken(attention.o_proj, layout),
        second_norm=_norm(layer.post_attention_layernorm),
        gated=gated,
        down=_taken(down, layout, more),
        query_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        key_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        scale=attention.scaling,
    )


def _norm(norm: Any) -> Norm | Centred:
    if isinstance(norm, nn.LayerNorm):
        return Centred(_own(norm.weight), None if norm.bias is None else _own(norm.bias), norm.eps)
    return Norm(_own(norm.weight), norm.variance_epsilon)


def _own(weight: Tensor) -> Tensor:
    """A copy: one tensor that still lies in the file keeps the whole file in memory."""
    return weight.detach().clone()


def _taken(plain: nn.Linear, layout: Layout, more: int = 0) -> Product:
    """more: columns of zeros at its end."""
    made = layout.product(pad(_weight(plain), (0, more)), plain.bias)
    _empty(plain)
    return made


def _pair(gate: nn.Linear, up: nn.Linear, layout: Layout, more: int) -> Gated:
    made = layout.gated(_filled(_weight(gate), gate.bias, more), _filled(_weight(up), up.bias, more))
    _empty(gate)
    _empty(up)
    return made


def _ungated(up: nn.Linear, layout: Layout, more: int) -> Ungated:
    weight, bias = _filled(_weight(up), up.bias, more)
    made = Ungated(layout.product(weight, bias), (len(weight), weight.itemsize))
    _empty(up)
    return made


def _halves(both: nn.Linear, layout: Layout, more: int) -> Gated:
    gate, up = _weight(both).chunk(2)
    biases = (None, None) if both.bias is None else both.bias.chunk(2)
    made = layout.gated(_filled(gate, biases[0], more), _filled(up, biases[1], more))
    _empty(both)
    return made


def _filled(weight: Tensor, bias: Tensor | None, more: int) -> tuple[Tensor, Tensor | None]:
    """With so many rows of zeros at their end."""
    return pad(weight, (0, 0, 0, more)), None if bias is None else pad(bias, (0, more))


def _joined(parts: list[nn.Linear], layout: Layout) -> Product:
    biases = [part.bias.detach() for part in parts if part.bias is not None]
    made = layout.product(torch.cat([_weight(part) for part in parts]), torch.cat(biases) if biases else None)
    for part in parts:
        _empty(part)
    return made


def _weight(plain: nn.Linear) -> Tensor:
    """As it is meant: whole numbers out of a folder of `rounded.py` are multiplied out."""
    step = getattr(plain, rounded.STEP, None)
    return plain.weight.detach() if step is None else plain.weight.detach().float() * step


def _empty(plain: nn.Linear) -> None:
    """Let go of the weight."""
    gone: Tensor = plain.weight.new_empty(0)
    plain.weight = nn.Parameter(gone, requires_grad=False)
