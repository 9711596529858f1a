"""Enlarge a trained model without changing what it computes, to measure the cost of a real size.

`widen(model, "0.4B")` pads widths and spreads identity layers; the text stays the trained model's own. Every added
weight that cannot be seen is random, the others are written zeros: untouched pages would fake the bandwidth.
A zero-padded residual stream shrinks mean(x^2) by D/D', so norms are scaled by sqrt(D/D') and eps by D/D'. Where
D'/D is a power of 4 every factor is a power of two and the logits keep their bits.
Source: Chen et al. 2016, arXiv:1511.05641 (Net2Net: function-preserving growth).
"""

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, final

import torch
from torch import Generator, Tensor
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen2ForCausalLM, Qwen3ForCausalLM

from decant.errors import BadInput, IncompatibleParts

SUPPORTED: Final = (LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM)
FILL: Final = 0.02  # standard deviation of the unseen weights
UNITS: Final = {"K": 1e3, "M": 1e6, "B": 1e9}
NARROWEST: Final = 2.0  # intermediate over hidden, in the search
WIDEST: Final = 4.0
LAYER_WIDTHS: Final = 44  # hidden width bought per layer, about that of Qwen3-0.6B and Llama-3.2-1B


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """What widening may change."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int


def widen(
    model: PreTrainedModel, size: str, layers: Literal["grow", "keep"] = "grow", seed: int = 0
) -> PreTrainedModel:
    """A model of about `size` parameters ("0.4B", "20M") with the logits of `model`, in its dtype, on its device.

    `layers="keep"` grows width only: methods that exit early or read layers are measured with that alone.
    Raises IncompatibleParts for other architectures than Llama, Qwen2 and Qwen3, BadInput for a size below the model's.
    """
    if not isinstance(model, SUPPORTED):
        names = ", ".join(kind.__name__ for kind in SUPPORTED)
        raise IncompatibleParts(f"{type(model).__name__} cannot be widened; only {names} can")
    wanted = parameters(size)
    if wanted <= model.num_parameters():
        raise BadInput(f"size {size!r} is not above the {model.num_parameters():,} parameters that the model has")
    return _grown(model, choose(model.config, wanted, layers), seed)


def parameters(size: str) -> float:
    """The number that a size such as "0.4B", "20M" or "600K" names."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB])", size.strip().upper())
    if not found or not float(found[1]):
        raise BadInput(f"size {size!r} is not a number with K, M or B, such as 0.4B or 20M")
    return float(found[1]) * UNITS[found[2]]


def choose(config: object, wanted: float, layers: Literal["grow", "keep"]) -> Shape:
    """The shape nearest to `wanted` parameters: hidden a power-of-4 multiple where that comes within 5 %."""
    best: list[tuple[float, float, Shape]] = []
    for factor in _factors(config, wanted):
        hidden = config.hidden_size * factor
        exact = math.log(factor, 4) % 1 == 0
        heads, kv_heads = config.num_attention_heads * factor, config.num_key_value_heads * factor
        counts = [config.num_hidden_layers]
        if layers == "grow":
            counts = list(range(config.num_hidden_layers, max(config.num_hidden_layers, 2 * hidden // 32) + 1))
        for count in counts:
            intermediate = _intermediate(config, wanted, Shape(hidden, 0, count, heads, kv_heads))
            shape = Shape(hidden, intermediate, count, heads, kv_heads)
            miss = abs(count_parameters(config, shape) / wanted - 1)
            unlike = _unlike(shape, layers)
            best.append(((miss > 0.05) * 10 + miss + unlike + (not exact) * 0.5, miss, shape))
    return min(best, key=lambda entry: entry[:2])[2]


def _factors(config: object, wanted: float) -> list[int]:
    """Whole multiples of the hidden size whose embedding alone leaves room for layers."""
    tables = 1 if config.tie_word_embeddings else 2
    return [f for f in range(1, 65) if tables * config.vocab_size * config.hidden_size * f < wanted] or [1]


def _unlike(shape: Shape, layers: Literal["grow", "keep"]) -> float:
    """How far a shape is from the proportions of real models: depth to width, and the feed-forward's width."""
    ratio = shape.intermediate / shape.hidden
    depth = abs(math.log(shape.layers * LAYER_WIDTHS / shape.hidden)) if layers == "grow" else 0.0
    return 0.2 * depth + 0.2 * max(0.0, NARROWEST - ratio, ratio - WIDEST)


def _intermediate(config: object, wanted: float, bare: Shape) -> int:
    """The feed-forward width that spends what the rest leaves, a multiple of 64 and not below the model's own."""
    left = wanted - count_parameters(config, bare)
    width = round(left / (3 * bare.hidden * bare.layers) / 64) * 64
    return max(width, config.intermediate_size)


def count_parameters(config: object, shape: Shape) -> int:
    """Weights of a model of this shape, without biases and norms (below 0.2 %)."""
    tables = (1 if config.tie_word_embeddings else 2) * config.vocab_size * shape.hidden
    attention = 2 * shape.hidden * head_dim(config) * (shape.heads + shape.kv_heads)
    return tables + shape.layers * (attention + 3 * shape.hidden * shape.intermediate)


def head_dim(config: object) -> int:
    """The head width, which widening leaves alone."""
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


@torch.no_grad()
def _grown(model: PreTrainedModel, shape: Shape, seed: int) -> PreTrainedModel:
    """Build the empty large model, then write every one of its weights."""
    config = _config(model, shape)
    with torch.device("meta"):
        large = type(model)(config)
    large.to_empty(device=model.device).to(model.dtype)
    _restore_buffers(large, config)
    rng = Generator().manual_seed(seed)
    old, places = model.state_dict(), _places(model.config.num_hidden_layers, shape.layers)
    sources = {place: layer for layer, place in enumerate(places)}
    for name, weight in large.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue  # the same memory as the embedding
        layer = re.match(r"model\.layers\.(\d+)\.", name)
        source = name
        if layer:
            origin = sources.get(int(layer[1]))
            source = None if origin is None else name.replace(f".{layer[1]}.", f".{origin}.", 1)
        _write(name, weight, None if source is None else old[source], _Frame(model.config, shape, rng))
    large.tie_weights()
    large.generation_config = model.generation_config
    _restore_eps(large, model.config.rms_norm_eps)
    return large.eval()


@final
@dataclass(frozen=True, slots=True)
class _Frame:
    """What writing one weight needs to know of both models."""

    config: object
    shape: Shape
    rng: Generator


def _write(name: str, weight: Tensor, old: Tensor | None, frame: _Frame) -> None:
    """Fill one weight of the large model from its old one, or as part of an identity layer where there is none."""
    config, shape = frame.config, frame.shape
    filler = torch.randn(weight.shape, generator=frame.rng) * FILL
    narrow = config.hidden_size
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        weight.copy_(filler + 1 if old is None else old)
    elif "norm" in name:
        weight.copy_(filler + 1)
        if old is not None:
            weight[:narrow] = old.float() * math.sqrt(narrow / shape.hidden)
    elif name.endswith(("o_proj.weight", "down_proj.weight")):
        weight.zero_()  # nothing enters the added residual columns, nothing leaves an added head or an identity layer
        if old is not None:
            columns = _rows(name, config, shape) if "o_proj" in name else torch.arange(old.shape[1])
            weight[:narrow, columns.to(weight.device)] = old
    elif "embed_tokens" in name or name == "lm_head.weight":
        weight.zero_()
        weight[:, :narrow] = old
    elif name.endswith((".o_proj.bias", ".down_proj.bias")):
        weight.zero_()
        if old is not None:
            weight[:narrow] = old
    else:  # q, k, v, gate, up: added rows are read by nobody, added columns meet zeros
        weight.copy_(filler)
        if old is not None:
            rows = _rows(name, config, shape)[: old.shape[0]].to(weight.device)
            if weight.dim() == 1:
                weight[rows] = old
            else:
                weight[rows] = torch.cat([old, weight[rows][:, narrow:]], 1)


def _rows(name: str, config: object, shape: Shape) -> Tensor:
    """Where the old rows of a projection go: an old query head keeps reading its old key-value head."""
    width, group = head_dim(config), config.num_attention_heads // config.num_key_value_heads
    if "q_proj" in name or "o_proj" in name:
        larger = shape.heads // shape.kv_heads
        heads = [(head // group) * larger + head % group for head in range(config.num_attention_heads)]
        return (torch.tensor(heads)[:, None] * width + torch.arange(width)).flatten()
    return torch.arange(max(config.intermediate_size, config.num_key_value_heads * width))


def _config(model: PreTrainedModel, shape: Shape) -> object:
    """The large model's configuration; per-layer lists are derived again."""
    config = model.config
    fields = {name: field for name, field in config.to_dict().items() if name not in ("layer_types", "model_type")}
    fields |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": head_dim(config),
        "rms_norm_eps": config.rms_norm_eps * config.hidden_size / shape.hidden,
    }
    large = type(config)(**fields)
    large._attn_implementation = config._attn_implementation
    return large


def _places(few: int, many: int) -> list[int]:
    """The large model's layers that hold the old ones, spread evenly, the last one last."""
    return [(layer + 1) * many // few - 1 for layer in range(few)]


def _restore_buffers(large: PreTrainedModel, config: object) -> None:
    """Rotary frequencies are computed, not stored; `to_empty` lost them."""
    rotary = type(large.model.rotary_emb)(config)
    large.model.rotary_emb = rotary.to(large.device)


def _restore_eps(large: PreTrainedModel, eps: float) -> None:
    """Per-head norms see unpadded heads: their eps is the old one, which the configuration cannot say."""
    for layer in large.model.layers:
        for name in ("q_norm", "k_norm"):
            if hasattr(layer.self_attn, name):
                getattr(layer.self_attn, name).variance_epsilon = eps
