"""Enlarge a trained model without changing what it computes, to measure the cost of a real size.

`widen(model, "0.4B")` pads widths and spreads identity layers; the text stays the trained model's own. Every added
weight that cannot be seen is random, the others are written zeros: untouched pages would fake the bandwidth.
A zero-padded residual stream shrinks mean(x^2) by D/D', so norms are scaled by sqrt(D/D') and eps by D/D'. Where
D'/D is a power of 4 every factor is a power of two and the logits keep their bits.
Source: Chen et al. 2016, arXiv:1511.05641 (Net2Net: function-preserving growth).
"""

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import (
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2ForCausalLM,
    Qwen3ForCausalLM,
)

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


@final
@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model's shape, and what widening leaves alone."""

    shape: Shape
    vocab: int
    head_dim: int
    tied: bool

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Anatomy":
        """Read a Llama, Qwen2 or Qwen3 configuration."""
        fields: dict[str, Any] = config.to_dict()
        hidden, heads = fields["hidden_size"], fields["num_attention_heads"]
        kv_heads = fields.get("num_key_value_heads") or heads
        shape = Shape(hidden, fields["intermediate_size"], fields["num_hidden_layers"], heads, kv_heads)
        return cls(shape, fields["vocab_size"], fields.get("head_dim") or hidden // heads, config.tie_word_embeddings)

    def parameters(self, shape: Shape) -> int:
        """Weights of such a model in another shape, without biases and norms (below 0.2 %)."""
        tables = (1 if self.tied else 2) * self.vocab * shape.hidden
        attention = 2 * shape.hidden * self.head_dim * (shape.heads + shape.kv_heads)
        return tables + shape.layers * (attention + 3 * shape.hidden * shape.intermediate)


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
    return grow(model, choose(Anatomy.of(model.config), wanted, layers), seed)


def parameters(size: str) -> float:
    """The number that a size such as "0.4B", "20M" or "600K" names."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMB])", size.strip().upper())
    if not found or not float(found[1]):
        raise BadInput(f"size {size!r} is not a number with K, M or B, such as 0.4B or 20M")
    return float(found[1]) * UNITS[found[2]]


def choose(old: Anatomy, wanted: float, layers: Literal["grow", "keep"]) -> Shape:
    """The best shape within 5 % of `wanted` parameters: the hidden width a power-of-4 multiple where that is possible,
    then depth and feed-forward in the proportions of real models.
    """
    shapes = [shape for factor in _factors(old, wanted) for shape in _shapes(old, factor, wanted, layers)]
    return min(shapes, key=lambda shape: _cost(old, shape, wanted, layers))


def _factors(old: Anatomy, wanted: float) -> list[int]:
    """Whole multiples of the hidden width whose embedding alone leaves room for layers."""
    tables = 1 if old.tied else 2
    return [factor for factor in range(1, 17) if factor == 1 or tables * old.vocab * old.shape.hidden * factor < wanted]


def _shapes(old: Anatomy, factor: int, wanted: float, layers: Literal["grow", "keep"]) -> list[Shape]:
    """For each depth, the feed-forward width (a multiple of 256, not below the old one) that spends what is left."""
    least, hidden = old.shape, old.shape.hidden * factor
    deepest = max(least.layers, hidden // 16) if layers == "grow" else least.layers
    found = []
    for count in range(least.layers, deepest + 1):
        bare = Shape(hidden, 0, count, least.heads * factor, least.kv_heads * factor)
        left = wanted - old.parameters(bare)
        intermediate = max(round(left / (3 * hidden * count) / 256) * 256, least.intermediate)
        found.append(replace(bare, intermediate=intermediate))
    return found


def _cost(old: Anatomy, shape: Shape, wanted: float, layers: Literal["grow", "keep"]) -> float:
    """How far a shape is from what is wanted: size first, then exact factors, then the proportions of real models."""
    miss = abs(old.parameters(shape) / wanted - 1)
    exact = math.log(shape.hidden // old.shape.hidden, 4) % 1 == 0
    depth = abs(math.log(shape.layers * LAYER_WIDTHS / shape.hidden)) if layers == "grow" else 0.0
    ratio = shape.intermediate / shape.hidden
    unlike = depth + max(0.0, NARROWEST - ratio, ratio - WIDEST)
    return (miss > 0.05) * 10 + miss + (not exact) * 0.5 + 0.2 * unlike


@torch.no_grad()
def grow(model: PreTrainedModel, shape: Shape, seed: int = 0) -> PreTrainedModel:
    """The model enlarged to an exact shape: build it empty, then write every one of its weights.

    The shape must not be smaller anywhere, nor have fewer query heads per key-value head.
    """
    old, large = Anatomy.of(model.config), _empty(model, shape)
    rng = Generator().manual_seed(seed)
    weights, sources = model.state_dict(), {place: layer for layer, place in enumerate(_places(old.shape, shape))}
    for name, weight in large.state_dict().items():
        if name == "lm_head.weight" and old.tied:
            continue  # the same memory as the embedding
        source: str | None = name
        if found := re.match(r"model\.layers\.(\d+)\.", name):
            layer = sources.get(int(found[1]))
            source = None if layer is None else name.replace(f".{found[1]}.", f".{layer}.", 1)
        filler = FILL * torch.randn(weight.shape, generator=rng)
        weight.copy_(filler if source is None else _padded(name, weights[source].cpu(), filler, old, shape))
        if source is None:
            _silence(name, weight)
    large.tie_weights()
    large.generation_config = model.generation_config
    return large.eval()


def _padded(name: str, weight: Tensor, filler: Tensor, old: Anatomy, shape: Shape) -> Tensor:
    """An old weight inside a new one: filler where nobody can see it, zeros where it would reach the residual."""
    narrow = old.shape.hidden
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return weight
    if "norm" in name:
        scaled = weight.float() * math.sqrt(narrow / shape.hidden)
        return torch.cat([scaled, filler[narrow:] + 1])
    if "embed_tokens" in name or name.startswith("lm_head"):
        return functional.pad(weight.float(), (0, shape.hidden - narrow))
    whole = filler.clone()
    rows, columns = _heads(name, old, shape)
    if name.endswith(("o_proj.weight", "down_proj.weight")):
        whole.zero_()
        whole[:narrow, columns[: weight.shape[1]]] = weight.float()
    elif name.endswith(("o_proj.bias", "down_proj.bias")):
        whole.zero_()
        whole[:narrow] = weight.float()
    elif weight.dim() == 1:
        whole[rows[: len(weight)]] = weight.float()
    else:  # the added input columns meet the zeros of the padded residual
        taken = rows[: len(weight)]
        whole[taken] = torch.cat([weight.float(), whole[taken, narrow:]], 1)
    return whole


def _heads(name: str, old: Anatomy, shape: Shape) -> tuple[Tensor, Tensor]:
    """Where old rows and old columns go: an old query head keeps reading its old key-value head."""
    places = torch.arange(max(old.shape.intermediate, old.shape.hidden, old.shape.kv_heads * old.head_dim))
    group, larger = old.shape.heads // old.shape.kv_heads, shape.heads // shape.kv_heads
    heads_H = torch.arange(old.shape.heads)
    moved_H = heads_H // group * larger + heads_H % group
    moved = (moved_H[:, None] * old.head_dim + torch.arange(old.head_dim)).flatten()
    return (moved if "q_proj" in name else places), (moved if "o_proj" in name else places)


def _silence(name: str, weight: Tensor) -> None:
    """Make part of an added layer an identity: nothing leaves it, and its norms are ordinary."""
    if "o_proj" in name or "down_proj" in name:
        weight.zero_()
    elif "norm" in name:
        weight += 1


def _empty(model: PreTrainedModel, shape: Shape) -> PreTrainedModel:
    """A model of that shape on the same device whose weights are still to be written."""
    config, old = model.config, Anatomy.of(model.config)
    fields = {name: field for name, field in config.to_dict().items() if name not in ("layer_types", "model_type")}
    eps = fields["rms_norm_eps"]
    fields |= {
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": old.head_dim,
        "rms_norm_eps": eps * old.shape.hidden / shape.hidden,
    }
    large_config = type(config)(**fields)
    large_config._attn_implementation = config._attn_implementation
    with torch.device("meta"):
        large = type(model)(large_config)
    nn.Module.to(large.to_empty(device=model.device), model.dtype)
    # Rotary frequencies are computed, not stored; `to_empty` lost them.
    rotary = type(large.model.rotary_emb)(large_config)
    large.model.rotary_emb = rotary.to(model.device)
    for layer in large.model.layers:
        for name in ("q_norm", "k_norm"):
            if hasattr(layer.self_attn, name):
                # They see unpadded heads: their eps is the old one, which the configuration cannot say.
                getattr(layer.self_attn, name).variance_epsilon = eps
    return large


def _places(few: Shape, many: Shape) -> list[int]:
    """The large model's layers that hold the old ones, spread evenly, the last one last."""
    return [(layer + 1) * many.layers // few.layers - 1 for layer in range(few.layers)]
