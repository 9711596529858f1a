"""Masks for drafts, and the attention call that reads them.

Every architecture takes its 4-D mask in one of three forms (measured; a wrong form is silently wrong).

In exact mode a row's keys are read in two parts. The nodes of a tree lie in other slots than they will after commit, so
one sum over all slots would run in another order, with another last bit. Keys in front of a boundary that depends on
the row's position alone are committed and lie where they always lay: the fused kernel reads them. The rest, 32 to 64
positions and the draft, are summed in float64, where the order moves results by 1e-16 and a rounded number almost never
(estimated: one last bit in 10^8 numbers).
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedConfig
from transformers.masking_utils import AttentionMaskInterface

from decant.models.spans import Span, additive, stacked

NAME = "decant_sdpa"
# A shorter last tile takes another float32 kernel inside the fused attention, with other bits (measured).
QUERIES = 4
ROWS = 160  # rows of queries in one call; the kernel changes its tiles, and with them the bits, at 192
LEAST = torch.finfo(torch.float64).min  # not -inf: a row that sees nothing must not be nan
WIDTH = 64  # slots read are a multiple of this: an odd tail makes attention slower
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

    def argument(
        self, spans: Sequence[Span], reach: int, columns: int, device: torch.device
    ) -> Tensor | dict[str, Tensor]:
        """The `attention_mask`, over the slots [0, reach): a row of the batch for each span, filled up to `columns`."""
        masks = {
            f"{kind}_attention": additive(stacked([span.reads(reach, window) for span in spans], columns), self.dtype)
            for kind, window in (("full", 0), ("sliding", self.window))
            if self.kind in {kind, "mixed"}
        }
        found = {name: mask_BQS[:, None].to(device) for name, mask_BQS in masks.items()}
        return found if self.kind == "mixed" else next(iter(found.values()))


@final
@dataclass(eq=False)
class Split(threading.local):
    """Where exact mode cuts the keys of the rows of one forward over a grid of requests by columns. Each thread has its
    own: two models may run at once.

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
    def during(self, spans: Sequence[Span], columns: int, device: torch.device) -> Iterator[None]:
        """Cut keys in one forward of so many columns."""
        self.first_B = [boundary(span.first) for span in spans]
        self.longest = max(span.stop - begin for span, begin in zip(spans, self.first_B, strict=True))
        self.edge_BQ = torch.stack([pad(edges(span), (0, columns - span.count)) for span in spans]).to(device)
        self.reach = max(front_reach(span) for span in spans)
        try:
            yield
        finally:
            self.edge_BQ = None
            self.masks.clear()

    def cut(self, mask: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of an additive mask_B1QW: the mask in front of the boundary, folded; whether anything is there; the slots of
        the tails and which of them each row reads. Once a forward for each mask.
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
            self.masks[id(mask)] = folded(front, groups, QUERIES), some_BQ, slot_BT, reads_BQT
        return self.masks[id(mask)]


SPLIT = Split()


def boundary(position: int) -> int:
    """The first slot that a row at this position reads in float64."""
    return max(position // BLOCK - 1, 0) * BLOCK


def edges(span: Span) -> Tensor:
    """edge_Q: the boundary of each row, not in front of where the request's tail begins."""
    return ((span.positions() // BLOCK - 1) * BLOCK).clamp_min(boundary(span.first))


def front_reach(span: Span) -> int:
    """Slots that hold every key in front of a boundary, in whole blocks of the kernel's."""
    return -(-boundary(span.stop - 1) // KEYS) * KEYS


def folded(mask_B1QS: Tensor, groups: int, multiple: int = 1) -> Tensor:
    """The mask of queries whose heads, where they share keys, are rows of one head; filled up to a multiple of rows."""
    mask_B1FS = mask_B1QS.repeat(1, 1, groups, 1)
    more = -mask_B1FS.shape[2] % multiple
    return pad(mask_B1FS, (0, 0, 0, more)) if more else mask_B1FS


def filling(dtype: torch.dtype, device: torch.device) -> int:
    """Rows of queries come in multiples of this where that is faster: in bfloat16 fewer than 4 cost more than 4."""
    return QUERIES if device.type == "cpu" and dtype != torch.float32 else 1


def mix(query: Tensor, key: Tensor, value: Tensor, mask_B1FS: Tensor | None, scale: float | None) -> Tensor:
    """mixed_BHQW of query_BHQW over key_BKSW and value_BKSW (K heads, shared by groups of H / K); see `folded`.

    Heads that share keys become rows of one head: keys are read once, not once a head (measured, one query: 1.3 to 9
    times as fast on a CPU), and kernels that refuse a mask together with grouped heads are none the wiser.
    One fused attention for every row count: transformers' own takes another path, with other bits, for one row.
    """
    shape = query.shape
    query = query.reshape(shape[0], key.shape[1], -1, shape[3])
    rows = query.shape[2]
    if mask_B1FS is not None and mask_B1FS.shape[2] > rows:
        query = pad(query, (0, 0, 0, mask_B1FS.shape[2] - rows))
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask_B1FS, scale=scale)
    return mixed[:, :, :rows].reshape(shape)


def mix_front(query: Tensor, key: Tensor, value: Tensor, mask_B1FS: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """As `mix`, and the log-sum-exp_BHQ1 of what was read; both in float64."""
    assert FUSED is not None
    shape = query.shape
    query = query.reshape(shape[0], key.shape[1], -1, shape[3])
    rows, filled = query.shape[2], mask_B1FS.shape[2]
    query = pad(query, (0, 0, 0, filled - rows)) if filled > rows else query
    parts = [
        FUSED(query[:, :, part], key, value, 0.0, False, attn_mask=mask_B1FS[:, :, part], scale=scale)
        for part in (slice(first, first + ROWS) for first in range(0, rows, ROWS))
    ]
    out, total = parts[0] if len(parts) == 1 else (torch.cat(each, 2) for each in zip(*parts, strict=True))
    return out[:, :, :rows].double().reshape(shape), total[:, :, :rows].double().reshape(*shape[:3], 1)


def mix_tail(query: Tensor, key: Tensor, value: Tensor, reads_BQT: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """`mix_front` in float64, of the slots that `reads` allows."""
    batch, heads, rows, width = query.shape
    grouped = (batch, key.shape[1], heads // key.shape[1] * rows, width)
    scores = (query.double() * scale).reshape(grouped) @ key.double().transpose(-1, -2)
    scores = scores.view(batch, heads, rows, -1).masked_fill(~reads_BQT[:, None], LEAST)
    total_BHQ1 = scores.logsumexp(-1, keepdim=True)
    probs = (scores - total_BHQ1).exp().view(*grouped[:3], -1)
    return (probs @ value.double()).view(query.shape), total_BHQ1


def merge(front: tuple[Tensor, Tensor], tail: tuple[Tensor, Tensor], some: Tensor) -> Tensor:
    """What both parts say together. some: of each row, whether it read anything in front; the kernel's log-sum-exp
    does not tell."""
    share = (tail[1] - front[1].masked_fill(~some, -torch.inf)).sigmoid()
    return front[0] * (1 - share) + tail[0] * share


def _mix_in_two(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """`mix`, cut at each row's boundary, on a grid."""
    front_mask, some_BQ, slot_BT, reads_BQT = SPLIT.cut(mask, query.shape[1] // key.shape[1])
    if len(query) == 1:
        slots = slice(SPLIT.first_B[0], SPLIT.first_B[0] + SPLIT.longest)
        key_BKTW, value_BKTW = key[:, :, slots], value[:, :, slots]
    else:
        request_B1 = torch.arange(len(query), device=slot_BT.device)[:, None]
        key_BKTW, value_BKTW = (part[request_B1, :, slot_BT].transpose(1, 2) for part in (key, value))
    tail = mix_tail(query, key_BKTW, value_BKTW, reads_BQT, scale)
    if not SPLIT.reach:
        return tail[0].to(query.dtype)
    front = mix_front(query, key[:, :, : SPLIT.reach], value[:, :, : SPLIT.reach], front_mask, scale)
    return merge(front, tail, some_BQ[:, None, :, None]).to(query.dtype)


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
    """Our attention, as transformers calls it: one mask for all rows of a grid."""
    groups = query.shape[1] // key.shape[1]
    if SPLIT.edge_BQ is not None and attention_mask is not None:
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        mixed = _mix_in_two(query, key, value, attention_mask, scale)
    else:
        if attention_mask is not None:
            attention_mask = folded(attention_mask, groups, filling(query.dtype, query.device))
        elif groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        mixed = mix(query, key, value, attention_mask, scaling)
    return mixed.transpose(1, 2).contiguous(), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, lambda *_, **__: None)  # masks always come ready-made
