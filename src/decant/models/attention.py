"""Masks for drafts, and the attention call that reads them.

Every architecture takes its 4-D mask in one of three forms (measured; a wrong form is silently wrong):
one full mask, one sliding mask, or a dict of both where layers alternate.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, PreTrainedConfig
from transformers.masking_utils import AttentionMaskInterface

NAME = "decant_sdpa"
# A shorter last tile takes another float32 kernel inside the fused attention, with other bits (measured).
QUERIES = 4
Form = Literal["full", "sliding", "mixed"]


def form(config: PreTrainedConfig) -> tuple[Form, int]:
    """How this architecture takes its mask, and its sliding window (0: none)."""
    window = getattr(config, "sliding_window", None) or 0
    if getattr(config, "use_sliding_window", True) is False:
        window = 0
    kinds = set(getattr(config, "layer_types", None) or ())
    if kinds - {"full_attention", "sliding_attention"}:
        kinds = set()
    if config.model_type.startswith(("gemma2", "gemma3")) or (window and len(kinds) > 1):
        return "mixed", window
    return ("sliding", window) if window and kinds != {"full_attention"} else ("full", 0)


def sees(slot_W: Tensor, last_BQ: Tensor, node_BQN: Tensor | None, length_B: Tensor) -> Tensor:
    """allow_BQW: which slots each new row may read.

    last_BQ:  the last slot of the plain prefix that the row sees.
    node_BQN: what it sees of the nodes in slots length + i, itself included; None where nothing branches.
    """
    allow_BQW = slot_W <= last_BQ[..., None]
    if node_BQN is None:
        return allow_BQW
    nodes = node_BQN.shape[-1]
    node_BW = slot_W - length_B[:, None]
    inside_B1W = ((node_BW >= 0) & (node_BW < nodes))[:, None]
    node_BQW = node_BW.clamp(0, nodes - 1)[:, None].expand(allow_BQW.shape)
    return allow_BQW | (inside_B1W & node_BQN.gather(-1, node_BQW))


def argument(
    allow_BQW: Tensor, position_BQ: Tensor, key_BW: Tensor, config: PreTrainedConfig, dtype: torch.dtype
) -> Tensor | dict[str, Tensor]:
    """The `attention_mask` for this architecture; the window counts positions, not slots."""
    kind, window = form(config)
    full = _additive(allow_BQW, dtype)
    if kind == "full":
        return full
    near_BQW = key_BW[:, None] > position_BQ[..., None] - (window or torch.iinfo(torch.int64).max // 2)
    sliding = _additive(allow_BQW & near_BQW, dtype)
    return sliding if kind == "sliding" else {"full_attention": full, "sliding_attention": sliding}


def attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **extra: Any,
) -> tuple[Tensor, None]:
    """One fused attention for every row count: transformers' own takes another path, with other bits, for one row.

    On a CPU grouped heads are read in place; repeating them costs 1.3-1.6x. Elsewhere the fused kernels refuse
    a mask together with grouped heads, so heads are repeated there.
    """
    groups = query.shape[1] // key.shape[1]
    in_place = query.device.type == "cpu"
    queries = query.shape[2]
    if in_place and queries % QUERIES:
        more = (0, 0, 0, -queries % QUERIES)
        query, attention_mask = pad(query, more), None if attention_mask is None else pad(attention_mask, more)
    if groups > 1 and not in_place:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    mixed_BHQD = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=in_place and groups > 1
    )
    return mixed_BHQD[:, :, :queries].transpose(1, 2).contiguous(), None


def _additive(allow_BQW: Tensor, dtype: torch.dtype) -> Tensor:
    # A float mask: eager attention *adds* a bool one. finfo.min, not -inf: a row that sees nothing must not be nan.
    mask = torch.zeros(allow_BQW.shape, dtype=dtype, device=allow_BQW.device)
    return mask.masked_fill_(~allow_BQW, torch.finfo(dtype).min)[:, None]


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)  # masks always come ready-made
