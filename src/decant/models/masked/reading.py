"""Folders of LLaDA and Dream models, whose own code never runs, read into the networks of transformers that they are.

| family | network | weights |
|---|---|---|
| LLaDA | Llama; with biases on queries, keys and values Qwen2 | `BLOCK` and `WHOLE`: the gate is `ff_proj` |
| Dream | Qwen2 | Qwen2's own names |

Names, gate, rotary halves, open attention, what an absent key means and Dream's shift are as the public modelling,
configuration and generation files say; sizes and ids as in the config.json of LLaDA-8B-Instruct and the defaults of
Dream's. The weights themselves were never here: nobody compared logits of the released models.
Source: Nie et al. 2025, arXiv:2502.09992 (LLaDA); Ye et al. 2025, arXiv:2508.15487 (Dream).
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
)
from transformers.utils.hub import cached_file

from decant.errors import BadInput, IncompatibleParts
from decant.models.masked.convention import SHIFTED, Convention

ARCHITECTURES: Final = {"llada": "LLaDAModelLM", "Dream": "DreamModel"}
COVERED: Final[dict[str, dict[str, tuple[Any, Any]]]] = {
    "llada": {
        "block_type": ("llama", "sequential"),
        "block_group_size": (1, 1),
        "activation_type": ("silu", "swiglu"),
        "layer_norm_type": ("rms", "default"),
        "layer_norm_with_affine": (True, True),
        "bias_for_layer_norm": (False, False),
        "attention_layer_norm": (False, False),
        "input_emb_norm": (False, False),
        "include_bias": (False, False),
        "multi_query_attention": (False, False),
        "rope": (True, False),
        "alibi": (False, False),
        "scale_logits": (False, False),
        "quantization_config": (False, False),
    },
    "Dream": {
        "hidden_act": ("silu", "silu"),
        "rope_scaling": (False, False),
        "rope_parameters": (False, False),
        "use_sliding_window": (False, False),
        "use_mrope": (False, False),
        "block_size": (False, False),
        "quantization_config": (False, False),
    },
}
"""By key: what is read here, and what its absence means; null is false."""

WHOLE: Final = {
    "model.embed_tokens.weight": "model.transformer.wte.weight",
    "model.norm.weight": "model.transformer.ln_f.weight",
    "lm_head.weight": "model.transformer.ff_out.weight",
}
BLOCK: Final = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "post_attention_layernorm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}
LAYER: Final = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")


def announced(name: str, revision: str | None) -> dict[str, Any] | None:
    """config.json of a folder or Hub id that is of these families; None for any other, and where there is none."""
    try:
        said, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except (OSError, ValueError):
        return None
    return said if said.get("model_type") in SHIFTED else None


def read(name: str, said: Mapping[str, Any], dtype: str | torch.dtype, revision: str | None) -> PreTrainedModel:
    """The network, its configuration with a convention of ours; a weight of the type asked for stays in its file.

    Raises IncompatibleParts for a model that is more than Llama or Qwen2, BadInput for a broken folder.
    """
    config = translated(name, said)
    made: Any = Qwen2ForCausalLM if isinstance(config, Qwen2Config) else LlamaForCausalLM
    with torch.device("meta"):
        wanted = made(config).state_dict()
    if config.tie_word_embeddings:
        wanted.pop("lm_head.weight")
    renamed = public if said["model_type"] == "llada" else str
    found = _weights(name, {renamed(key): (key, weight.shape) for key, weight in wanted.items()}, revision)
    network = made.from_pretrained(None, config=config, state_dict=found, dtype=dtype)
    if _stored(name, "generation_config.json", revision):
        network.generation_config = GenerationConfig.from_pretrained(name, revision=revision or "main")
    return network


def speller(name: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The tokenizer: tokenizer.json, or Qwen2's over vocab.json and merges.txt, which Dream's own code repeats."""
    made = PreTrainedTokenizerFast if _stored(name, "tokenizer.json", revision) else Qwen2Tokenizer
    return made.from_pretrained(name, revision=revision or "main")


def translated(name: str, said: Mapping[str, Any]) -> LlamaConfig | Qwen2Config:
    """The configuration of the network that it is. Raises as `read` does."""
    family = str(said["model_type"])
    _refuse_strangers(name, family, said)
    try:
        config = _llada(said) if family == "llada" else _dream(said)
    except KeyError as error:
        raise BadInput(f"config.json of {name} names no {error.args[0]}; fetch the folder again") from error
    convention = Convention.told(family, said.get("mask_token_id"))
    if convention.mask_token_id >= config.vocab_size:
        raise BadInput(
            f"config.json of {name} names {convention.mask_token_id} as the mask, but there are {config.vocab_size} "
            f"ids; fetch the folder again"
        )
    convention.write(config)
    return config


def public(name: str) -> str:
    """What LLaDA's files call a weight of Llama."""
    layer = LAYER.fullmatch(name)
    return f"model.transformer.blocks.{layer[1]}.{BLOCK[layer[2]]}.{layer[3]}" if layer else WHOLE[name]


def _refuse_strangers(name: str, family: str, said: Mapping[str, Any]) -> None:
    architectures = said.get("architectures") or [ARCHITECTURES[family]]
    if architectures != [ARCHITECTURES[family]]:
        raise IncompatibleParts(
            f"{name} is a {', '.join(architectures)}, and of {family} models decant reads {ARCHITECTURES[family]}"
        )
    for key, (covered, absent) in COVERED[family].items():
        if (value := said.get(key, absent) or False) != covered:
            raise IncompatibleParts(
                f"{name} is a {family} model with {key} {json.dumps(value)}, and decant reads such models with "
                f"{json.dumps(covered)}"
            )


def _llada(said: Mapping[str, Any]) -> LlamaConfig | Qwen2Config:
    made = Qwen2Config if said.get("include_qkv_bias") else LlamaConfig
    return made(
        vocab_size=said.get("embedding_size") or said["vocab_size"],
        hidden_size=said["d_model"],
        intermediate_size=said.get("mlp_hidden_size") or said.get("mlp_ratio", 4) * said["d_model"],
        num_hidden_layers=said["n_layers"],
        num_attention_heads=said["n_heads"],
        num_key_value_heads=said.get("n_kv_heads") or said["n_heads"],
        max_position_embeddings=said["max_sequence_length"],
        tie_word_embeddings=said.get("weight_tying", True),
        rms_norm_eps=said.get("rms_norm_eps", 1e-5),
        **_rest(said),
    )


def _dream(said: Mapping[str, Any]) -> Qwen2Config:
    return Qwen2Config(
        vocab_size=said["vocab_size"],
        hidden_size=said["hidden_size"],
        intermediate_size=said["intermediate_size"],
        num_hidden_layers=said["num_hidden_layers"],
        num_attention_heads=said["num_attention_heads"],
        num_key_value_heads=said.get("num_key_value_heads") or said["num_attention_heads"],
        max_position_embeddings=said.get("max_position_embeddings", 32768),
        tie_word_embeddings=said.get("tie_word_embeddings", False),
        rms_norm_eps=said.get("rms_norm_eps", 1e-6),
        **_rest(said),
    )


def _rest(said: Mapping[str, Any]) -> dict[str, Any]:
    """What both families say with the same keys."""
    return {
        "rope_parameters": {"rope_type": "default", "rope_theta": float(said.get("rope_theta", 10000.0))},
        "bos_token_id": said.get("bos_token_id"),
        "eos_token_id": said.get("eos_token_id"),
        "pad_token_id": said.get("pad_token_id"),
        "dtype": said.get("dtype") or said.get("torch_dtype"),
    }


def _weights(name: str, wanted: Mapping[str, tuple[str, torch.Size]], revision: str | None) -> dict[str, Tensor]:
    """Our names and weights, which lie in their files until they are read. wanted: by their name there."""
    found: dict[str, Tensor] = {}
    for file in _files(name, revision):
        with safe_open(file, framework="pt") as store:
            for key in store.keys():  # noqa: SIM118  (a store is no mapping)
                if key not in wanted:
                    raise IncompatibleParts(
                        f"{name} holds {key}, which its config.json does not speak of; decant would read another model"
                    )
                ours, shape = wanted[key]
                found[ours] = weight = store.get_tensor(key)
                if weight.shape != shape:
                    raise BadInput(
                        f"{key} of {name} is {tuple(weight.shape)}, and its config.json makes it {tuple(shape)}; fetch "
                        f"the folder again"
                    )
    if missing := [key for key, (ours, _) in wanted.items() if ours not in found]:
        raise BadInput(f"{name} lacks {len(missing)} of its weights, {missing[0]} first; fetch the folder again")
    return found


def _files(name: str, revision: str | None) -> list[str]:
    """Paths of all safetensors files that hold weights of the model."""
    index = _stored(name, "model.safetensors.index.json", revision)
    names = ["model.safetensors"]
    if index is not None:
        names = sorted({*json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"].values()})
    paths = [_stored(name, one, revision) for one in names]
    if None in paths:
        raise BadInput(f"{name} lacks {names[paths.index(None)]}; fetch the folder again")
    return [path for path in paths if path is not None]


def _stored(name: str, file: str, revision: str | None) -> str | None:
    return cached_file(name, file, revision=revision, _raise_exceptions_for_missing_entries=False)
