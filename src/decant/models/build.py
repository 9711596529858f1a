"""Untrained Llama models from a small spec, their training loss, and model folders in Hugging Face format.

What trains or ships a model of our own comes here for everything that needs transformers.
"""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig
from transformers import LlamaForCausalLM as Llama

from decant.errors import BadInput
from decant.models.machine import fast_bfloat16


@final
@dataclass(frozen=True, slots=True)
class LlamaSpec:
    """The shape of a Llama; embeddings are tied."""

    vocab: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    head_dim: int = 32
    positions: int = 2048
    rope_theta: float = 100_000.0
    eos: tuple[int, ...] = ()
    pad: int | None = None

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads:
            raise BadInput(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")


def untrained(spec: LlamaSpec, seed: int = 0) -> Llama:
    """A float32 model with fresh weights, the same for the same seed; the global generator does not move."""
    config = LlamaConfig(
        vocab_size=spec.vocab,
        hidden_size=spec.hidden,
        intermediate_size=spec.intermediate,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        head_dim=spec.head_dim,
        max_position_embeddings=spec.positions,
        rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=list(spec.eos) or None,
        pad_token_id=spec.pad,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Llama(config)
    model.generation_config.eos_token_id = list(spec.eos) or None
    model.generation_config.pad_token_id = spec.pad
    nn.Module.to(model, torch.float32)
    return model


def logits_where(model: Llama, ids_BT: Tensor, wanted_BT: Tensor) -> Tensor:
    """Logits that predict the wanted positions, logits_NV in row order: the head runs on those alone.

    The first position of a row has nothing before it and is never predicted, wanted or not.
    """
    hidden_BTD = model.model(input_ids=ids_BT, use_cache=False).last_hidden_state
    return model.lm_head(hidden_BTD[:, :-1][wanted_BT[:, 1:]])


def mixed_precision(device: torch.device) -> torch.autocast:
    """Products in bfloat16 where the machine multiplies that in hardware: 1.6 times the speed on such a CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu" or fast_bfloat16())


def next_token_nats(model: Llama, ids_BT: Tensor, weights_BT: Tensor) -> Tensor:
    """The weighted sum of -log p(id) over the positions with a weight, in nats."""
    wanted_BT = weights_BT > 0
    logits_NV = logits_where(model, ids_BT, wanted_BT)
    nats_N = functional.cross_entropy(logits_NV.float(), ids_BT[:, 1:][wanted_BT[:, 1:]], reduction="none")
    return (nats_N * weights_BT[:, 1:][wanted_BT[:, 1:]]).sum()


def save_folder(model: Llama, folder: Path, dtype: torch.dtype = torch.bfloat16, asked: str = "float32") -> None:
    """Write config.json, generation_config.json and model.safetensors; the model itself keeps its dtype.

    The file holds `dtype`, the configuration asks for `asked`: small on disk, fast on CPUs without bfloat16.
    """
    rounded = copy.deepcopy(model)
    nn.Module.to(rounded, dtype)
    rounded.save_pretrained(folder)
    config = folder / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"dtype": "bfloat16"', f'"dtype": "{asked}"'))
    (folder / "model.safetensors").chmod(0o644)  # transformers leaves it to the owner alone


def load_folder(folder: Path) -> Llama:
    """The model of a folder, in float32, for training and evaluation."""
    if not (folder / "config.json").is_file():
        raise BadInput(f"{folder} holds no config.json; build the model first")
    return Llama.from_pretrained(folder, dtype=torch.float32, local_files_only=True)


@torch.inference_mode()
def reply_ids(model: Llama, prompts: list[list[int]], limit: int, eos: tuple[int, ...]) -> list[list[int]]:
    """Greedy replies to prompts, without the end token.

    Rows are padded on the left, so the same prompt in other company may differ where two tokens are nearly tied.
    """
    width = max(map(len, prompts))
    pad = eos[0]
    ids_BT = torch.tensor([[pad] * (width - len(row)) + row for row in prompts])
    seen_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts])
    out_BT = model.generate(  # pyright: ignore[reportAttributeAccessIssue]  (transformers' protocol for self is too wide)
        ids_BT, attention_mask=seen_BT, max_new_tokens=limit, do_sample=False, eos_token_id=list(eos), pad_token_id=pad
    )
    replies = []
    for row in out_BT[:, width:].tolist():
        ends = [place for place, token in enumerate(row) if token in eos]
        replies.append(row[: ends[0]] if ends else row)
    return replies


def add_settings(folder: Path, name: str, fields: dict[str, object]) -> None:
    """Write a small JSON file beside the weights."""
    (folder / name).write_text(json.dumps(fields, indent=2) + "\n", encoding="utf-8")
