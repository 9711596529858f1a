"""Folders of eight-bit weights as other engines read them: compressed-tensors' W8A8, activations rounded at every call.

| tensor | type | |
|---|---|---|
| `NAME.weight` | int8 [out, in] | whole numbers, the largest of a row 127 |
| `NAME.weight_scale` | bfloat16 [out, 1] | what they are multiplied by |

Embedding, norms, biases and the output matrix are as stored: other engines do not read an output matrix in eight bits.
decant rounds that one when it loads, so that the folder says what `load(original, weights="int8")` says, bit for bit.
Source: github.com/vllm-project/compressed-tensors 0.20, format int-quantized, as transformers reads it.
"""

import copy
from pathlib import Path
from typing import Any, Final

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.modeling_utils import load_state_dict
from transformers.utils.hub import cached_file

from decant.errors import BadInput
from decant.models.fast.int8 import MOST, in_steps

STEP: Final = "weight_scale"
WEIGHTS: Final = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "channel", "dynamic": False}
ACTIVATIONS: Final = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
SCHEME: Final[dict[str, Any]] = {
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {"group_0": {"targets": ["Linear"], "weights": WEIGHTS, "input_activations": ACTIVATIONS}},
    "ignore": ["lm_head"],
}


def is_rounded(config: PreTrainedConfig) -> bool:
    """Whether config.json announces such weights; other schemes are left to transformers."""
    said: dict[str, Any] = getattr(config, "quantization_config", None) or {}
    groups = list((said.get("config_groups") or {}).values())
    return (
        len(groups) == 1
        and _agrees(said, {key: SCHEME[key] for key in ("quant_method", "format", "ignore")})
        and _agrees(groups[0], {"targets": ["Linear"]})
        and _agrees(groups[0].get("weights"), WEIGHTS)
        and _agrees(groups[0].get("input_activations"), ACTIVATIONS)
    )


def holds(network: PreTrainedModel) -> bool:
    """Whether `read` made this network."""
    return any(hasattr(part, STEP) for part in network.modules())


@torch.no_grad()
def write(network: PreTrainedModel, folder: Path) -> None:
    """Weights in one file (up to 50 GB), config.json and generation_config.json."""
    head = network.get_output_embeddings()
    linears = {
        f"{name}.weight" for name, part in network.named_modules() if isinstance(part, nn.Linear) and part is not head
    }
    found: dict[str, Tensor] = {}
    for name, weight in network.state_dict().items():
        if name in linears:
            found[name], step = in_steps(weight)
            found[name.replace("weight", STEP)] = step[:, None].bfloat16()
        elif name != "lm_head.weight" or not network.config.tie_word_embeddings:
            found[name] = _narrow(weight)
    network.save_pretrained(folder, state_dict=found)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # transformers leaves it to the owner alone
    config = copy.deepcopy(network.config)
    config.quantization_config = SCHEME
    config.save_pretrained(folder)


def read(name: str, config: PreTrainedConfig, dtype: str | torch.dtype, revision: str | None) -> PreTrainedModel:
    """The network with whole numbers for weights and their steps beside them, for `reading.take` alone.

    Raises BadInput where decant would round in another way than whoever made the folder.
    """
    found = load_state_dict(cached_file(name, "model.safetensors", revision=revision) or "")
    steps = {key: found.pop(key) for key in list(found) if key.endswith(f".{STEP}")}
    for key, step in steps.items():
        largest = found[key.replace(STEP, "weight")].short().abs().amax(1)  # in int8 -128 has no positive twin
        if not (((largest == MOST) | (largest == 0)).all() and torch.equal(step.bfloat16().float(), step.float())):
            raise BadInput(
                f"{name}: {key.removesuffix(f'.{STEP}')} was rounded in another way than decant rounds; decant reads "
                f"the eight-bit folders of `decant export`, and `--weights int8` rounds the original"
            )
    plain = copy.deepcopy(config)
    vars(plain).pop("quantization_config")
    network = getattr(transformers, (config.architectures or [""])[0]).from_pretrained(
        None, config=plain, state_dict=found, dtype=dtype
    )
    for key, step in steps.items():
        setattr(network.get_submodule(key.removesuffix(f".{STEP}")), STEP, step.float())
    if cached_file(name, "generation_config.json", revision=revision, _raise_exceptions_for_missing_entries=False):
        network.generation_config = GenerationConfig.from_pretrained(name, revision=revision or "main")
    return network


def _agrees(said: dict[str, Any] | None, wanted: dict[str, Any]) -> bool:
    return said is not None and {key: said.get(key) for key in wanted} == wanted


def _narrow(weight: Tensor) -> Tensor:
    """In bfloat16 where that loses nothing."""
    narrow = weight.bfloat16()
    return narrow.contiguous() if torch.equal(narrow.to(weight.dtype), weight) else weight.contiguous()
