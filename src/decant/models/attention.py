"""Masks for drafts, and the attention call that reads them.

Every architecture takes its 4-D mask in one of three forms (measured; a wrong form is silently wrong).

In exact mode a row's keys are read in two parts. The nodes of a tree lie in other slots than they will after commit, so
one sum over all slots would run in another order, with another last bit. Keys in front of a boundary that depends on
the row's position alone are committed and lie where they always lay: the fused kernel reads them. The rest, 32 to 64
positions and the draft, are summed in float64, where the order moves results by 1e-16 and a rounded number almost never
(estimated: one last bit in 10^8 numbers).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig
from transformers.masking_utils import AttentionMaskInterface

NAME = "decant_sdpa"
# A shorter last tile takes another float32 kernel inside the fused attention, with other bits (measured).
QUERIES = 4
LEAST = torch.finfo(torch.float64).min  # not -inf: a row that sees nothing must not be nan
KEYS = 512  # the fused kernel's own block of keys: a shorter last one is summed in another order (measured)
BLOCK = 32  # the boundary lags one block behind a row's own: no tree up to that depth reaches across it
FUSED = getattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu", None)
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


@final
@dataclass(slots=True, eq=False)
class Split:
    """Where exact mode cuts the keys of the rows of one forward.

    edge_BQ: each row's boundary; None where keys are read in one.
    first_B: the first slot behind any boundary of a request, where its tail begins.
    longest: slots of the longest tail.
    reach:   slots that hold every key in front of a boundary.
    """

    edge_BQ: Tensor | None = None
    first_B: list[int] = field(default_factory=list)
    longest: int = 0
    reach: int = 0
    masks: dict[int, tuple[Tensor, Tensor, Tensor, Tensor]] = field(default_factory=dict)

    @contextmanager
    def during(self, position_BQ: Tensor, lengths: Sequence[int], slots: list[list[int]], nodes: int) -> Iterator[None]:
        """Cut keys in one forward. position_BQ: -1 where nobody reads; nodes: of a tree, behind the lengths."""
        firsts = [next((slot for slot in row if slot >= 0), n - 1) for row, n in zip(slots, lengths, strict=True)]
        lasts = [max(*row, n - 1 + nodes) for row, n in zip(slots, lengths, strict=True)]
        self.first_B = list(map(boundary, firsts))
        self.longest = max(last + 1 - begin for begin, last in zip(self.first_B, lasts, strict=True))
        begin_B1 = torch.tensor(self.first_B, device=position_BQ.device)[:, None]
        self.edge_BQ = ((position_BQ // BLOCK - 1) * BLOCK).maximum(begin_B1)
        self.reach = -(-boundary(max(lasts)) // KEYS) * KEYS
        try:
            yield
        finally:
            self.edge_BQ = None
            self.masks.clear()

    def cut(self, mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of an additive mask_B1QW: the mask in front of the boundary, whether anything is there, the slots of the
        tails and which of them each row reads; once a forward for each mask.
        """
        if id(mask) not in self.masks:
            assert self.edge_BQ is not None
            width, least = mask.shape[-1], torch.finfo(mask.dtype).min
            slot_W, edge_BQ1 = torch.arange(width, device=mask.device), self.edge_BQ[..., None]
            front = mask[..., : self.reach].masked_fill((slot_W[: self.reach] >= edge_BQ1)[:, None], least)
            some_BQ = (front[:, 0] == 0).any(-1)
            first_B1 = torch.tensor(self.first_B, device=mask.device)[:, None]
            slot_BT = first_B1 + torch.arange(self.longest, device=mask.device)
            there_B1T, slot_BT = (slot_BT < width)[:, None], slot_BT.clamp_max(width - 1)
            reads_BQT = mask[:, 0].gather(-1, slot_BT[:, None].expand(-1, mask.shape[2], -1)) == 0
            reads_BQT = reads_BQT & (slot_BT[:, None] >= edge_BQ1) & there_B1T
            self.masks[id(mask)] = front, some_BQ, slot_BT, reads_BQT
        return self.masks[id(mask)]


SPLIT = Split()


def boundary(position: int) -> int:
    """The first slot that a row at this position reads in float64."""
    return max(position // BLOCK - 1, 0) * BLOCK


def mix(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """mixed_BQHD of query_BHQD over key_BKWD and value_BKWD (K heads, shared by groups of H / K).

    One fused attention for every row count: transformers' own takes another path, with other bits, for one row.
    On a CPU grouped heads are read in place; repeating them costs 1.3-1.6x. Elsewhere the fused kernels refuse a mask
    together with grouped heads, so heads are repeated there.
    """
    if SPLIT.edge_BQ is not None and mask is not None:
        return _mix_in_two(query, key, value, mask, query.shape[-1] ** -0.5 if scale is None else scale)
    groups = query.shape[1] // key.shape[1]
    in_place = query.device.type == "cpu"
    if groups > 1 and not in_place:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=scale, enable_gqa=in_place and groups > 1
    ).transpose(1, 2)


def _mix_in_two(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`mix`, cut at each row's boundary, merged by log-sum-exp."""
    front, some_BQ, slot_BT, reads_BQT = SPLIT.cut(mask)
    batch, heads, rows, width = query.shape
    kv_heads = key.shape[1]
    if batch == 1:
        tail = slice(SPLIT.first_B[0], SPLIT.first_B[0] + SPLIT.longest)
        key_BKTD, value_BKTD = key[:, :, tail], value[:, :, tail]
    else:
        request_B1 = torch.arange(batch, device=slot_BT.device)[:, None]
        key_BKTD, value_BKTD = (part[request_B1, :, slot_BT].transpose(1, 2) for part in (key, value))
    grouped = (batch, kv_heads, heads // kv_heads * rows, width)
    scores = (query.double() * scale).reshape(grouped) @ key_BKTD.double().transpose(-1, -2)
    scores = scores.view(batch, heads, rows, -1).masked_fill(~reads_BQT[:, None], LEAST)
    tail_BHQ1 = scores.logsumexp(-1, keepdim=True)
    probs = (scores - tail_BHQ1).exp().view(*grouped[:3], -1)
    mixed_BHQD = (probs @ value_BKTD.double()).view(batch, heads, rows, width)
    if SPLIT.reach:
        assert FUSED is not None
        more = -rows % QUERIES
        padded = pad(query, (0, 0, 0, more)) if more else query
        masked = pad(front, (0, 0, 0, more)) if more else front
        out, total = FUSED(
            padded, key[:, :, : SPLIT.reach], value[:, :, : SPLIT.reach], 0.0, False, attn_mask=masked, scale=scale
        )
        # A row with nothing in front of its boundary has a log-sum-exp of -inf; the kernel says otherwise.
        front_BHQ1 = total[:, :, :rows, None].double().masked_fill(~some_BQ[:, None, :, None], -torch.inf)
        share = (tail_BHQ1 - front_BHQ1).sigmoid()
        mixed_BHQD = out[:, :, :rows].double() * (1 - share) + mixed_BHQD * share
    return mixed_BHQD.to(query.dtype).transpose(1, 2)


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
