"""Attention of packed rows: each request's over a lane of its own, with masks that all layers share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from decant.models.attention import (
    FUSED,
    QUERIES,
    WIDTH,
    boundary,
    edges,
    filling,
    folded,
    front_reach,
    merge,
    mix_front,
    mix_tail,
)
from decant.models.fast.lanes import Lane, Lanes
from decant.models.spans import Span, additive, stacked


@final
@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows of one request. rows: among the packed ones; slots: where they go; mask_11FS: folded, over what is read."""

    lane: Lane
    rows: slice
    slots: slice
    mask_11FS: Tensor

    def written(self, layer: int, key_RKW: Tensor, value_RKW: Tensor) -> Tensor:
        """The request's rows_2KSW of a layer, the new ones included."""
        rows_2KSW = self.lane.rows_L2KSW[layer]
        rows_2KSW[0, :, self.slots] = key_RKW[self.rows].transpose(0, 1)
        rows_2KSW[1, :, self.slots] = value_RKW[self.rows].transpose(0, 1)
        return rows_2KSW


@final
class Desk:
    """Where a part's queries are laid out for the kernel, and where it puts what it mixed: the same in all layers.

    Heads that share keys lie one behind the other as rows of one head (`attention.folded`), QKGW seen from outside.
    """

    def __init__(self, part: Part, mixed_RHW: Tensor, groups: int) -> None:
        heads, width = mixed_RHW.shape[1:]
        rows, kv_heads = part.rows.stop - part.rows.start, heads // groups
        self.shape, self.count = (rows, kv_heads, groups, width), rows * groups
        self.query_1KFW = mixed_RHW.new_zeros(1, kv_heads, part.mask_11FS.shape[2], width)
        self.query_QKGW = self._outside(self.query_1KFW)
        self.mixed_QKGW = mixed_RHW[part.rows].view(self.shape)

    def lay(self, query_QHW: Tensor) -> Tensor:
        """query_1KFW; rows that only fill up are zero."""
        self.query_QKGW.copy_(query_QHW.view(self.shape))
        return self.query_1KFW

    def take(self, mixed_1KFW: Tensor) -> None:
        """Put the rows where they belong."""
        self.mixed_QKGW.copy_(self._outside(mixed_1KFW))

    def _outside(self, rows_1KFW: Tensor) -> Tensor:
        rows, _, groups, _ = self.shape
        return rows_1KFW[0, :, : self.count].unflatten(1, (groups, rows)).permute(2, 0, 1, 3)


@final
class Mixing:
    """One forward's attention, layer by layer: write the rows' keys and values, then mix what each may read.

    lanes: with room for all of it behind this call. window: positions that a row sees; 0: all.
    """

    def __init__(self, lanes: Lanes, spans: Sequence[Span], groups: int, window: int, like: Tensor) -> None:
        multiple = filling(like.dtype, like.device)
        self.groups, self.fused = groups, FUSED is not None and like.device.type == "cpu"
        self.parts: list[Part] = []
        first = 0
        for span in spans:
            lane, reach = lanes.lanes[span.request], -(-span.stop // WIDTH) * WIDTH
            lane.reserve(reach)
            mask = folded(additive(span.reads(reach, window), like.dtype)[None, None], groups, multiple)
            rows = slice(first, first + span.count)
            self.parts.append(Part(lane, rows, slice(span.first, span.stop), mask.to(like.device)))
            first = rows.stop
        self.mixed_RHW = like
        self.desks: list[Desk] = []

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW, good until the next layer's; rows that no part names are zero."""
        if not self.desks:
            self.mixed_RHW = torch.zeros_like(query_RHW, memory_format=torch.contiguous_format)
            self.desks = [Desk(part, self.mixed_RHW, self.groups) for part in self.parts]
        for part, desk in zip(self.parts, self.desks, strict=True):
            rows_2KSW = part.written(layer, key_RKW, value_RKW)
            reach = part.mask_11FS.shape[3]
            key, value = rows_2KSW[:1, :, :reach], rows_2KSW[1:, :, :reach]
            query = desk.lay(query_RHW[part.rows])
            if self.fused:
                mixed = FUSED(query, key, value, 0.0, False, attn_mask=part.mask_11FS, scale=scale)[0]  # type: ignore[misc]
            else:
                mixed = scaled_dot_product_attention(query, key, value, attn_mask=part.mask_11FS, scale=scale)
            desk.take(mixed)
        return self.mixed_RHW


@final
class SteadyMixing:
    """`Mixing` in exact mode: keys are cut at a boundary of each row's position (see attention.py).

    Tails, all of about one length, go together; what lies in front of them does not.
    """

    def __init__(self, lanes: Lanes, spans: Sequence[Span], groups: int, window: int, like: Tensor) -> None:
        self.begins = [boundary(span.first) for span in spans]
        self.longest = max(span.stop - begin for span, begin in zip(spans, self.begins, strict=True))
        self.parts: list[Part] = []
        tails, some = [], []
        first, most = 0, max(span.count for span in spans)
        for span, begin in zip(spans, self.begins, strict=True):
            lane, reach, stop = lanes.lanes[span.request], front_reach(span), begin + self.longest
            lane.reserve(max(reach, stop))
            allow_QS, edge_Q1, slot_S = span.reads(max(reach, stop), window), edges(span)[:, None], torch.arange(stop)
            front_QS = allow_QS[:, :reach] & (torch.arange(reach) < edge_Q1)
            tails.append(allow_QS[:, begin:stop] & (slot_S[begin:] >= edge_Q1))
            some.append(front_QS.any(-1))
            mask = folded(additive(front_QS, like.dtype)[None, None], groups, QUERIES)
            rows = slice(first, first + span.count)
            self.parts.append(Part(lane, rows, slice(span.first, span.stop), mask))
            first = rows.stop
        self.rows, self.reads_BQT, self.some_R11 = first, stacked(tails, most), torch.cat(some)[:, None, None]
        # Packed rows on a grid, and back.
        counts = torch.tensor([span.count for span in spans])
        at_BQ = torch.arange(most) + (counts.cumsum(0) - counts)[:, None]
        self.grid_BQ = at_BQ.clamp_max(first - 1)
        self.real_BQ = torch.arange(most) < counts[:, None]

    def __call__(self, layer: int, query_RHW: Tensor, key_RKW: Tensor, value_RKW: Tensor, scale: float) -> Tensor:
        """mixed_RHW; rows that no part names are zero."""
        rows_of = [part.written(layer, key_RKW, value_RKW) for part in self.parts]
        tail = self._tail(rows_of, query_RHW, scale)
        mixed_RHW = tail[0]
        if any(part.mask_11FS.shape[3] for part in self.parts):
            mixed_RHW = merge(self._front(rows_of, query_RHW, scale), tail, self.some_R11)
        more = len(query_RHW) - self.rows
        mixed_RHW = mixed_RHW.to(query_RHW.dtype)
        return pad(mixed_RHW, (0, 0, 0, 0, 0, more)) if more else mixed_RHW

    def _tail(self, rows_of: Sequence[Tensor], query_RHW: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """mixed_RHW and log-sum-exp_RH1 of what lies behind the boundaries, on a grid of requests."""
        tails = [
            rows_2KSW[:, :, begin : begin + self.longest] for rows_2KSW, begin in zip(rows_of, self.begins, strict=True)
        ]
        alone = len(tails) == 1
        tails_B2KTW = tails[0][None] if alone else torch.stack(tails)
        query_BQHW = query_RHW[None, : self.rows] if alone else query_RHW[self.grid_BQ]
        found = mix_tail(query_BQHW.transpose(1, 2), tails_B2KTW[:, 0], tails_B2KTW[:, 1], self.reads_BQT, scale)
        mixed_BQHW, total_BQH1 = (each.transpose(1, 2) for each in found)
        return (mixed_BQHW[0], total_BQH1[0]) if alone else (mixed_BQHW[self.real_BQ], total_BQH1[self.real_BQ])

    def _front(self, rows_of: Sequence[Tensor], query_RHW: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        """The same of what lies in front of them; nothing (0) where a request has nothing there."""
        heads, width = query_RHW.shape[1:]
        mixed_RHW = query_RHW.new_zeros(self.rows, heads, width, dtype=torch.float64)
        total_RH1 = mixed_RHW.new_zeros(self.rows, heads, 1)
        for part, rows_2KSW in zip(self.parts, rows_of, strict=True):
            if reach := part.mask_11FS.shape[3]:
                query_1HQW = query_RHW[part.rows].transpose(0, 1)[None]
                key, value = rows_2KSW[:1, :, :reach], rows_2KSW[1:, :, :reach]
                mixed_1HQW, total_1HQ1 = mix_front(query_1HQW, key, value, part.mask_11FS, scale)
                mixed_RHW[part.rows], total_RH1[part.rows] = (
                    mixed_1HQW[0].transpose(0, 1),
                    total_1HQ1[0].transpose(0, 1),
                )
        return mixed_RHW, total_RH1


def mixing(steady: bool, device: torch.device) -> type[Mixing] | type[SteadyMixing]:
    """Which of the two."""
    return SteadyMixing if steady and FUSED is not None and device.type == "cpu" else Mixing
