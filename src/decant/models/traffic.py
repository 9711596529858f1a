"""What one forward reads from memory, at least: the weights once, and the cache of what came before.

Divided by the read bandwidth this is the floor under the time of a pass, however clever its kernels are.
"""

import time
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from decant.models.cache import Store
from decant.models.fast.lean import Lean
from decant.models.machine import bandwidth_gb_s

EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # how configurations call their number
BLOCK = 2**28  # float32 values: 1 GiB, which no cache holds


def weight_bytes(network: PreTrainedModel | Lean) -> int:
    """Bytes of weights that a forward of one row reads, packed ones as they lie in memory.

    Embedding tables count only where they are the head as well: of a table a row reads one line. Of a mixture of
    experts a row reads those that it is sent to; more rows may read more of them.
    """
    if isinstance(network, Lean):
        return sum(map(_bytes, _tensors((network.layers, network.norm, network.head))))
    config = network.config.get_text_config()
    experts = next((count for name in EXPERTS if (count := getattr(config, name, None))), 0)
    parts = [(_bytes(weight), weight.dim() == 3 and weight.shape[0] == experts) for weight in _read(network)]
    return sum(size * config.num_experts_per_tok // experts if stacked else size for size, stacked in parts)


def cache_bytes(store: Store) -> int:
    """Bytes of keys and values of one token of one request; 0 before the first forward."""
    allocated = [rows for layer in store.layers for rows in (layer.keys, layer.values) if rows is not None]
    return sum(rows[0, :, 0].numel() * rows.element_size() for rows in allocated)


def read_bandwidth_gb_s(device: torch.device, repeats: int = 5) -> float:
    """GB/s that `device` reads from its own memory: the best of `repeats` sums."""
    if device.type == "cpu":
        return bandwidth_gb_s(repeats=repeats)
    block = torch.ones(BLOCK, device=device)
    seconds = []
    for _ in range(repeats + 1):  # the first pays for the kernel's choice, and is never the best
        torch.accelerator.synchronize(device)
        begin = time.perf_counter()
        block.sum()
        torch.accelerator.synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return block.numel() * block.element_size() / min(seconds) / 1e9


def _tensors(part: Any) -> Iterator[Tensor]:
    """Every tensor of a lean part."""
    if isinstance(part, Tensor):
        yield part
    elif is_dataclass(part) and not isinstance(part, type):
        for field in fields(part):
            yield from _tensors(getattr(part, field.name))
    elif isinstance(part, list | tuple):
        for one in part:
            yield from _tensors(one)


def _read(network: nn.Module) -> list[Tensor]:
    """Weights of all modules but tables, each once; packed ones are plain attributes, not parameters."""
    found: dict[int, Tensor] = {}
    for module in network.modules():
        if not isinstance(module, nn.Embedding):
            packed = [value for value in vars(module).values() if isinstance(value, Tensor)]
            found.update((id(weight), weight) for weight in (*module.parameters(recurse=False), *packed))
    return list(found.values())


def _bytes(weight: Tensor) -> int:
    if weight.is_mkldnn:
        return torch.ops.mkldnn._nbytes(weight)
    return weight.numel() * weight.element_size()
