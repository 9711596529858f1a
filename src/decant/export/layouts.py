"""Trained heads under the names that other engines read: EAGLE-3's, EAGLE's and Medusa's.

What is written is held against the shapes that the engine allocates, worked out from config.json alone.
Source: github.com/vllm-project/vllm, model_executor/models/{llama_eagle3,llama_eagle,medusa}.py (00bd149, 00da923,
01dbb08); github.com/sgl-project/sglang, srt/models/{llama_eagle3,llama_eagle}.py (03d5a77, 034b3be).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from torch import Tensor

from decant.errors import IncompatibleParts
from decant.export.source import Source
from decant.models.heads import folder as heads
from decant.models.heads.spec import HeadSpec

Weights = dict[str, Tensor]
Shapes = dict[str, tuple[int, ...]]
FILE: Final = "model.safetensors"


def read(folder: Path, target: Source) -> Any:
    """The network of a head. Raises BadInput for a folder without one, IncompatibleParts for another target's."""
    net = heads.read(folder, target.config.num_hidden_layers)
    spec: HeadSpec = net.spec
    if (spec.hidden, spec.vocab) != (target.config.hidden_size, target.config.vocab_size):
        raise IncompatibleParts(
            f"the head in {folder} reads states of width {spec.hidden} and {spec.vocab} ids, {target.name} has width "
            f"{target.config.hidden_size} and {target.config.vocab_size} ids; give the head that was taught for it"
        )
    return net


def layers_read(spec: HeadSpec, layers: int) -> list[int]:
    """The target's layers whose inputs an EAGLE-3 head reads, counted from 0.

    Raises IncompatibleParts for a head that reads the embedding or what lies behind the last norm.
    """
    taps = spec.tapped(layers)
    if not all(1 <= tap < layers for tap in taps):
        raise IncompatibleParts(
            f"this {spec.kind} head reads the states {', '.join(map(str, spec.taps))} of its target, and engines hand "
            f"over what layers 1 to {layers - 1} are fed, not what lies behind the last norm (-1); teach one to a "
            f"target of 12 layers or more, or export eagle, medusa or a draft model"
        )
    return list(taps)


def eagle3(net: Any) -> tuple[Weights, Shapes]:
    """As published: `midlayer`, `d2t` of offsets."""
    spec: HeadSpec = net.spec
    wide, ids = spec.hidden, spec.draft_vocab or spec.vocab
    shapes = {"fc.weight": (wide, 3 * wide), "norm.weight": (wide,), "lm_head.weight": (ids, wide)}
    shapes |= {f"midlayer.{name}": (wide,) for name in ("hidden_norm.weight", "input_layernorm.weight")}
    shapes |= {f"midlayer.{name}": shape for name, shape in _layer(spec, 2 * wide).items()}
    weights = _narrow(net.state_dict())
    if net.ids_V is not None:
        weights |= _maps(spec, net.ids_V)
        shapes |= {"d2t": (ids,), "t2d": (spec.vocab,)}
    return weights, shapes


def eagle(net: Any, bias: bool) -> tuple[Weights, Shapes]:
    """bias: whether the engine's joining matrix has one. Raises IncompatibleParts where the head has one and the engine
    has none."""
    spec: HeadSpec = net.spec
    wide = spec.hidden
    weights = _narrow(net.state_dict())
    shapes = {"fc.weight": (wide, 2 * wide)}
    shapes |= {f"layers.0.{name}": shape for name, shape in _layer(spec, wide).items()}
    had = weights.pop("fc.bias", None)
    if bias:
        weights["fc.bias"] = torch.zeros(wide, dtype=torch.bfloat16) if had is None else had
        shapes["fc.bias"] = (wide,)
    elif had is not None and bool(had.any()):
        raise IncompatibleParts(
            "this eagle head adds a bias when it joins state and token, which vLLM's EAGLE has no room for; export it "
            "with --to sglang, or take medusa, eagle3 or a draft model"
        )
    return weights, shapes


def medusa(net: Any, target: Source) -> tuple[Weights, Shapes]:
    """Heads that share the target's output matrix bring a copy of it: vLLM does not lend its own."""
    spec: HeadSpec = net.spec
    wide, ids = spec.hidden, spec.draft_vocab or spec.vocab
    given, weights, shapes = net.state_dict(), {}, {}
    for head in range(net.count):
        for at in range(net.depth):
            for part, shape in (("weight", (wide, wide)), ("bias", (wide,))):
                name = f"blocks.{head}.layers.{at}.{part}"
                weights[name], shapes[name] = given[f"heads.{head}.{at}.linear.{part}"], shape
        if not net.shared:
            weights[f"lm_heads.{head}.weight"] = given[f"heads.{head}.{net.depth}.weight"]
            shapes[f"lm_heads.{head}.weight"] = (ids, wide)
    if net.shared:
        said_VD = target.network.get_output_embeddings().weight.detach()
        weights["lm_heads.0.weight"] = said_VD if net.ids_V is None else said_VD[net.ids_V]
        shapes["lm_heads.0.weight"] = (ids, wide)
    weights = _narrow(weights)
    if net.ids_V is not None:
        weights["token_map"], shapes["token_map"] = net.ids_V.cpu().long(), (ids,)
    return weights, shapes


def write(folder: Path, config: Mapping[str, Any], weights: Weights, shapes: Shapes) -> None:
    """config.json and the weights. Raises RuntimeError where they are not what the engine allocates."""
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    if found != shapes:
        apart = sorted(name for name in {*found, *shapes} if found.get(name) != shapes.get(name))
        raise RuntimeError(f"weights that the engine does not allocate so: {', '.join(apart)}")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / FILE, metadata={"format": "pt"})
    (folder / FILE).chmod(0o644)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def _narrow(weights: Mapping[str, Tensor]) -> Weights:
    return {name: weight.detach().to("cpu", torch.bfloat16).contiguous() for name, weight in weights.items()}


def _maps(spec: HeadSpec, ids_V: Tensor) -> Weights:
    covered = torch.zeros(spec.vocab, dtype=torch.bool)
    covered[ids_V] = True
    return {"d2t": ids_V.cpu() - torch.arange(len(ids_V)), "t2d": covered}


def _layer(spec: HeadSpec, inputs: int) -> Shapes:
    """A Llama layer without the norm before attention."""
    wide, narrow, inner = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim, spec.intermediate
    attention = {"q": (wide, inputs), "k": (narrow, inputs), "v": (narrow, inputs), "o": (spec.hidden, wide)}
    forward = {"gate": (inner, spec.hidden), "up": (inner, spec.hidden), "down": (spec.hidden, inner)}
    shapes = {f"self_attn.{part}_proj.weight": shape for part, shape in attention.items()}
    shapes |= {f"mlp.{part}_proj.weight": shape for part, shape in forward.items()}
    return shapes | {"post_attention_layernorm.weight": (spec.hidden,)}
