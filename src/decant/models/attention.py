"""Masks for drafts, and the attention call that reads them.

Every architecture takes its 4-D mask in one of three forms (measured; a wrong form is silently wrong).
"""

from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig
from transformers.masking_utils import AttentionMaskInterface

from decant.models.linears import Filling

NAME = "decant_sdpa"
# A shorter last tile takes another float32 kernel inside the fused attention, with other bits (measured).
QUERIES = 4
FILLING = Filling()  # whether tiles are filled up; `Causal` sets it before each forward
Kind = Literal["full", "sliding", "mixed"]


@final
@dataclass(frozen=True, slots=True)
class MaskForm:
    """How an architecture takes its mask.

    kind:   one full mask, one sliding mask, or a dict of both where layers alternate.
    window: positions that a sliding layer sees, itself included; 0: none slides.
    """

    kind: Kind
    window: int
    dtype: torch.dtype

    @classmethod
    def of(cls, config: PreTrainedConfig, dtype: torch.dtype) -> "MaskForm":
        """Read off a text model's configuration."""
        window = getattr(config, "sliding_window", None) or 0
        if getattr(config, "use_sliding_window", True) is False:
            window = 0
        kinds = set(getattr(config, "layer_types", None) or ())
        if kinds - {"full_attention", "sliding_attention"}:
            kinds = set()
        if config.model_type.startswith(("gemma2", "gemma3")) or (window and len(kinds) > 1):
            return cls("mixed", window, dtype)
        slides = window and kinds != {"full_attention"}
        return cls("sliding", window, dtype) if slides else cls("full", 0, dtype)

    def argument(self, allow_BQW: Tensor, position_BQ: Tensor, key_BW: Tensor) -> Tensor | dict[str, Tensor]:
        """The `attention_mask`; the window counts positions (key_BW: behind each slot), not slots."""
        if self.kind == "full":
            return self._additive(allow_BQW)
        reach = self.window or torch.iinfo(torch.int64).max // 2
        sliding = self._additive(allow_BQW & (key_BW[:, None] > position_BQ[..., None] - reach))
        if self.kind == "sliding":
            return sliding
        return {"full_attention": self._additive(allow_BQW), "sliding_attention": sliding}

    def _additive(self, allow_BQW: Tensor) -> Tensor:
        # A float mask: eager attention *adds* a bool one. finfo.min, not -inf: a row that sees nothing must not be nan.
        return allow_BQW.logical_not()[:, None].to(self.dtype).mul_(torch.finfo(self.dtype).min)


def sees(slot_W: Tensor, last_BQ: Tensor, node_BQN: Tensor, length_B: Tensor) -> Tensor:
    """allow_BQW: which slots each new row of a tree may read.

    last_BQ:  the last slot of the plain prefix that the row sees.
    node_BQN: what it sees of the nodes in slots length + i, itself included.
    """
    nodes = node_BQN.shape[-1]
    node_BW = slot_W - length_B[:, None]
    inside_B1W = ((node_BW >= 0) & (node_BW < nodes))[:, None]
    node_BQW = node_BW.clamp(0, nodes - 1)[:, None].expand(-1, last_BQ.shape[1], -1)
    return (slot_W <= last_BQ[..., None]) | (inside_B1W & node_BQN.gather(-1, node_BQW))


def key_positions(slot_W: Tensor, position_BN: Tensor, length_B: Tensor) -> Tensor:
    """key_BW: the position behind each slot; a tree's node i lies in slot length + i."""
    slot_BN = length_B[:, None] + torch.arange(position_BN.shape[1], device=slot_W.device)
    return slot_W.expand(len(length_B), -1).scatter(1, slot_BN, position_BN)


def mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """mixed_BQHD of query_BHQD over key_BKWD and value_BKWD (K heads, shared by groups of H / K).

    One fused attention for every row count: transformers' own takes another path, with other bits, for one row.
    A last tile of too few queries is filled up in exact mode. On a CPU grouped heads are read in place; repeating them
    costs 1.3-1.6x. Elsewhere the fused kernels refuse a mask together with grouped heads, so heads are repeated there.
    """
    groups = query.shape[1] // key.shape[1]
    in_place = query.device.type == "cpu"
    queries = query.shape[2]
    if queries % QUERIES and in_place and FILLING.on:
        more = (0, 0, 0, -queries % QUERIES)
        query, mask = pad(query, more), None if mask is None else pad(mask, more)
    if groups > 1 and not in_place:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    mixed_BHQD = scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=in_place and groups > 1
    )
    return mixed_BHQD[:, :, :queries].transpose(1, 2)


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
    """`mix`, as transformers calls it."""
    return mix(query, key, value, attention_mask, scaling).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)  # masks always come ready-made
