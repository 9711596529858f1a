"""Attention in float32 on CPUs where products are rounded to bfloat16: the fused kernel is slower over bfloat16.

Forward and backward, 8 texts of 176 tokens and 3 heads of 32: 4.3 ms, beside 9.9 ms (measured on an AMD EPYC with
avx512_bf16). Projections and everything else stay as autocast has them.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME: Final = "decant_unrounded"
LOCK: Final = threading.Lock()
INSIDE: Final = Counter[int]()  # passes under way by the id of the configuration that all of them share


@contextmanager
def unrounded(network: PreTrainedModel) -> Iterator[None]:
    """Passes of `network`, under autocast, mix in float32, in as many threads as there are. Layers that are run again
    for their gradients would do so outside: a model that checkpoints its layers stays as it is, and so does one with
    another attention than sdpa."""
    config = network.config.get_text_config()
    again = any(getattr(part, "gradient_checkpointing", False) for part in network.modules())
    with LOCK:
        own = config._attn_implementation
        fits = own in {"sdpa", NAME} and network.device.type == "cpu" and not again
        if fits:
            INSIDE[id(config)] += 1
            config._attn_implementation = NAME
    try:
        yield
    finally:
        if fits:
            with LOCK:
                INSIDE[id(config)] -= 1
                if not INSIDE[id(config)]:
                    del INSIDE[id(config)]
                    config._attn_implementation = "sdpa"


def _mixed(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **extra: Any
) -> tuple[Tensor, None]:
    """As transformers calls it."""
    with torch.autocast(query.device.type, enabled=False):
        kind = torch.promote_types(query.dtype, torch.float32)
        return sdpa_attention_forward(module, query.to(kind), key.to(kind), value.to(kind), attention_mask, **extra)


AttentionInterface.register(NAME, _mixed)
AttentionMaskInterface.register(NAME, sdpa_mask)
